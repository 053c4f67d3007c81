-- luacheck: ignore 631
-- All tools of Scalekit's Gmail connector: names, parameters and types are the service's, the texts ours.
-- A line: r(eads) w(rites) d(estroys), name, (parameters), text. *p is required; s n i b a o are string,
-- number, integer, boolean, array, object; @ stands for the optional schema_version and tool_version.
return {
  connector = "gmail",
  provider = "GMAIL",
  label = "Gmail",
  tools = [[
d gmail_batch_delete_messages (*message_ids:a @) Delete several mails for good.
w gmail_batch_modify_messages (*message_ids:a add_label_ids:a remove_label_ids:a @) Change the labels of several mails at once.
w gmail_create_delegate (*delegate_email:s) Create a delegate.
w gmail_create_draft (*body:s *subject:s *to:s bcc:s cc:s content_type:s thread_id:s @) Create a draft.
w gmail_create_filter (add_label_ids:a forward:s from:s has_attachment:b query:s remove_label_ids:a should_always_mark_important:b should_archive:b should_mark_read:b should_never_mark_important:b should_never_spam:b should_star:b should_trash:b subject:s to:s @) Create a filter.
w gmail_create_forwarding_address (*forwarding_email:s) Create a forwarding address.
w gmail_create_label (*name:s label_list_visibility:s message_list_visibility:s @) Create a label.
w gmail_create_send_as (*send_as_email:s display_name:s is_default:b reply_to_address:s signature:s treat_as_alias:b) Add a send-as address.
d gmail_delete_draft (*draft_id:s @) Delete the draft.
d gmail_delete_filter (*filter_id:s @) Delete the filter.
d gmail_delete_forwarding_address (*forwarding_email:s) Delete the forwarding address.
d gmail_delete_label (*label_id:s @) Delete the label.
d gmail_delete_message (*message_id:s @) Delete the message.
d gmail_delete_send_as (*send_as_email:s) Delete a send-as address.
d gmail_delete_thread (*thread_id:s) Delete the thread.
r gmail_fetch_mails (format:s include_spam_trash:b label_ids:a max_results:i page_token:s query:s @) Search the mailbox and return the mails found, newest first.
r gmail_get_attachment_by_id (*attachment_id:s *message_id:s file_name:s @) Return the bytes of an attachment.
r gmail_get_auto_forwarding () Return the auto forwarding.
r gmail_get_contacts (max_results:i page_token:s person_fields:a @) List the people in the address book.
r gmail_get_draft (*draft_id:s format:s @) Return the draft.
r gmail_get_filter (*filter_id:s @) Return the filter.
r gmail_get_forwarding_address (*forwarding_email:s) Return the forwarding address.
r gmail_get_label (*label_id:s @) Return the label.
r gmail_get_message_by_id (*message_id:s format:s @) Return one mail by its id.
r gmail_get_profile (@) Return the address and the totals of the mailbox.
r gmail_get_send_as (*send_as_email:s @) Return a send-as address.
r gmail_get_thread_by_id (*thread_id:s format:s metadata_headers:a @) Return a conversation with all of its mails.
r gmail_get_vacation_settings (@) Return vacation settings.
w gmail_import_message (*raw_message:s deleted:b internal_date_source:s label_ids:a never_mark_spam:b process_for_calendar:b) Import a message.
w gmail_insert_message (*raw_message:s internal_date_source:s label_ids:a) Insert a message.
r gmail_list_delegates () List delegates.
r gmail_list_drafts (max_results:i page_token:s @) List drafts.
r gmail_list_filters (@) List filters.
r gmail_list_forwarding_addresses () List forwarding addresses.
r gmail_list_history (*start_history_id:s history_types:a label_id:s max_results:i page_token:s) List what changed in the mailbox since a history id.
r gmail_list_labels (@) List labels.
r gmail_list_send_as () List send-as addresses.
r gmail_list_threads (include_spam_trash:b label_ids:a max_results:i page_token:s query:s @) List conversations that match a search.
w gmail_modify_message_labels (*message_id:s add_label_ids:a remove_label_ids:a @) Add labels to a mail or take labels off it.
w gmail_modify_thread_labels (*thread_id:s add_label_ids:a remove_label_ids:a) Add labels to a conversation or take labels off it.
w gmail_reply_to_thread (*body:s *thread_id:s *to:s bcc:s cc:s content_type:s in_reply_to_message_id:s subject:s @) Answer inside an existing conversation.
r gmail_search_people (*query:s other_contacts:b page_size:i person_fields:a @) Find people by name or address.
w gmail_send_draft (*draft_id:s @) Send a draft.
w gmail_send_message (*body:s *subject:s *to:s bcc:s cc:s content_type:s thread_id:s @) Send an e-mail from the connected account.
w gmail_stop_mailbox_watch (@) Stop a mailbox watch.
d gmail_trash_message (*message_id:s @) Move a mail to the trash.
d gmail_trash_thread (*thread_id:s) Move a conversation to the trash.
w gmail_untrash_message (*message_id:s @) Take a mail out of the trash.
w gmail_untrash_thread (*thread_id:s) Take a conversation out of the trash.
w gmail_update_auto_forwarding (*enabled:b disposition:s email_address:s) Change the auto forwarding.
w gmail_update_draft (*body:s *draft_id:s *subject:s *to:s bcc:s cc:s content_type:s thread_id:s @) Change the draft.
w gmail_update_label (*label_id:s label_list_visibility:s message_list_visibility:s name:s @) Change the label.
w gmail_update_send_as (*send_as_email:s display_name:s is_default:b reply_to_address:s signature:s @) Change a send-as address.
w gmail_update_vacation_settings (*enable_auto_reply:b end_time:s response_body_html:s response_body_plain_text:s response_subject:s restrict_to_contacts:b restrict_to_domain:b start_time:s @) Change vacation settings.
w gmail_verify_send_as (*send_as_email:s) Verify a send-as address.
w gmail_watch_mailbox (*topic_name:s label_filter_behavior:s label_ids:a @) Watch a mailbox.
]],
}
