-- luacheck: ignore 631
-- All tools of Scalekit's Slack connector: names, parameters and types are the service's, the texts ours.
-- A line: r(eads) w(rites) d(estroys), name, (parameters), text. *p is required; s n i b a o are string,
-- number, integer, boolean, array, object; @ stands for the optional schema_version and tool_version.
return {
  connector = "slack",
  provider = "SLACK",
  label = "Slack",
  tools = [[
w slack_add_bookmark (*channel_id:s *title:s *type:s emoji:s entity_id:s link:s) Add a bookmark.
w slack_add_reaction (*channel:s *name:s *timestamp:s) React to a message with an emoji.
w slack_add_reminder (*text:s *time:s user:s) Add a reminder.
d slack_archive_conversation (*channel:s) Archive the conversation.
r slack_auth_test () Tell which workspace and user the connection belongs to.
w slack_close_conversation (*channel:s) Close a conversation.
w slack_complete_reminder (*reminder:s) Complete a reminder.
w slack_complete_upload_external (*files:a channel_id:s initial_comment:s thread_ts:s) Finish an upload.
w slack_create_canvas (channel_id:s document_content:o title:s) Create a canvas.
w slack_create_channel (*name:s is_private:b team_id:s) Create a channel.
w slack_create_usergroup (*name:s channels:s description:s handle:s include_count:b) Create a user group.
d slack_delete_file (*file:s) Delete the file.
d slack_delete_message (*channel:s *ts:s) Delete the message.
d slack_delete_reminder (*reminder:s) Delete the reminder.
d slack_delete_scheduled_message (*channel:s *scheduled_message_id:s as_user:b) Delete the scheduled message.
w slack_disable_usergroup (*usergroup:s include_count:b) Disable a user group.
w slack_edit_bookmark (*bookmark_id:s *channel_id:s emoji:s link:s title:s) Edit a bookmark.
w slack_enable_usergroup (*usergroup:s include_count:b) Enable a user group.
w slack_end_dnd_snooze () End a do-not-disturb snooze.
r slack_fetch_conversation_history (*channel:s cursor:s latest:s limit:i oldest:s) Return the latest messages of a channel.
r slack_get_bot_info (bot:s) Return the bot details.
r slack_get_conversation_info (*channel:s include_locale:b include_num_members:b) Return the conversation details.
r slack_get_conversation_replies (*channel:s *ts:s cursor:s inclusive:b latest:s limit:i oldest:s) Return the answers in a thread.
r slack_get_dnd_info (user:s) Return the do-not-disturb details.
r slack_get_file_info (*file:s cursor:s limit:i) Return the file details.
r slack_get_permalink (*channel:s *message_ts:s) Return the permalink.
r slack_get_reactions (channel:s file:s file_comment:s full:b timestamp:s) Return reactions.
r slack_get_reminder_info (*reminder:s) Return the reminder details.
r slack_get_team_dnd_info (*users:s) Return the team do-not-disturb details.
r slack_get_team_info (team:s) Return the team details.
r slack_get_upload_url_external (*filename:s *length:i alt_txt:s snippet_type:s) Return an address to upload a file to.
r slack_get_user_info (*user:s include_locale:b) Return the user details.
r slack_get_user_presence (*user:s) Return the user presence.
r slack_get_user_profile (include_labels:b user:s) Return the user profile.
w slack_invite_users_to_channel (*channel:s *users:s) Invite an users to channel.
w slack_join_conversation (*channel:s) Join a conversation.
d slack_kick_from_conversation (*channel:s *user:s) Remove the from conversation.
w slack_leave_conversation (*channel:s) Leave a conversation.
r slack_list_bookmarks (*channel_id:s) List bookmarks.
r slack_list_channel_members (*channel:s cursor:s limit:i) List channel members.
r slack_list_channels (cursor:s exclude_archived:b limit:i team_id:s types:s) List the channels of the workspace.
r slack_list_emoji () List emoji.
r slack_list_files (channel:s count:i page:i ts_from:s ts_to:s types:s user:s) List files.
r slack_list_pinned_items (*channel:s) List pinned items.
r slack_list_reactions (cursor:s full:b limit:i user:s) List reactions.
r slack_list_reminders () List reminders.
r slack_list_scheduled_messages (channel:s cursor:s latest:s limit:i oldest:s) List scheduled messages.
r slack_list_user_conversations (cursor:s exclude_archived:b limit:i types:s user:s) List user conversations.
r slack_list_usergroup_users (*usergroup:s include_disabled:b) List user group users.
r slack_list_usergroups (include_count:b include_disabled:b include_users:b) List user groups.
r slack_list_users (cursor:s include_locale:b limit:n team_id:s) List the people of the workspace.
r slack_lookup_user_by_email (*email:s) Find a person by e-mail address.
w slack_mark_conversation_read (*channel:s *ts:s) Mark a conversation read.
w slack_open_conversation (channel:s return_im:b users:s) Open a conversation.
w slack_open_view (*trigger_id:s *view:o) Open a view.
w slack_pin_message (*channel:s *timestamp:s) Pin a message.
w slack_publish_view (*user_id:s *view:o hash:s) Publish a view.
w slack_push_view (*trigger_id:s *view:o) Push a view.
d slack_remove_bookmark (*bookmark_id:s *channel_id:s) Remove the bookmark.
d slack_remove_pin (*channel:s timestamp:s) Remove the pin.
d slack_remove_reaction (*channel:s *name:s *timestamp:s) Remove the reaction.
w slack_rename_conversation (*channel:s *name:s) Rename a conversation.
d slack_revoke_file_public_url (*file:s) Revoke the file public address.
w slack_schedule_rich_message (*channel:s *post_at:i *text:s attachments:a blocks:a reply_broadcast:b thread_ts:s unfurl_links:b unfurl_media:b) Schedule a rich message.
r slack_search_files (*query:s count:i highlight:b page:i sort:s sort_dir:s team_id:s) Search files.
r slack_search_messages (*query:s count:i highlight:b page:i sort:s sort_dir:s) Search messages by text.
w slack_send_ephemeral_message (*channel:s *text:s *user:s attachments:a blocks:a thread_ts:s) Send an ephemeral message.
w slack_send_me_message (*channel:s *text:s) Send a me message.
w slack_send_message (*channel:s *text:s attachments:s blocks:s reply_broadcast:b thread_ts:s unfurl_links:b unfurl_media:b @) Post a message to a channel or person.
w slack_send_rich_message (*channel:s *text:s attachments:a blocks:a reply_broadcast:b thread_ts:s unfurl_links:b unfurl_media:b) Send a rich message.
w slack_set_conversation_purpose (*channel:s *purpose:s) Set a conversation purpose.
w slack_set_conversation_topic (*channel:s *topic:s) Set a conversation topic.
w slack_set_dnd_snooze (*num_minutes:i) Set a do-not-disturb snooze.
w slack_set_user_presence (*presence:s) Set an user presence.
w slack_set_user_status (status_emoji:s status_expiration:i status_text:s) Set an user status.
w slack_share_file_public_url (*file:s) Share a file public address.
w slack_unarchive_conversation (*channel:s) Bring back a conversation.
w slack_unfurl_message (*channel:s *ts:s *unfurls:o) Unfurl a message.
w slack_update_message (*channel:s *ts:s attachments:s blocks:s text:s) Change the text of a posted message.
w slack_update_usergroup (*usergroup:s channels:s description:s handle:s include_count:b name:s) Change the user group.
w slack_update_usergroup_users (*usergroup:s *users:s include_count:b) Change user group users.
w slack_update_view (*view:o external_id:s hash:s view_id:s) Change the view.
]],
}
