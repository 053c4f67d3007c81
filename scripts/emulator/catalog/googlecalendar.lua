-- luacheck: ignore 631
-- All tools of Scalekit's Google Calendar connector: names, parameters and types are the service's, the texts ours.
-- A line: r(eads) w(rites) d(estroys), name, (parameters), text. *p is required; s n i b a o are string,
-- number, integer, boolean, array, object; @ stands for the optional schema_version and tool_version.
return {
  connector = "googlecalendar",
  provider = "GOOGLECALENDAR",
  label = "Google Calendar",
  tools = [[
w googlecalendar_add_calendar_to_list (*calendar_id:s color_id:s hidden:b selected:b) Show an existing calendar in the list of the user.
d googlecalendar_clear_calendar (*calendar_id:s) Take all events out of a calendar.
w googlecalendar_create_calendar (*summary:s description:s location:s timezone:s @) Create a calendar.
w googlecalendar_create_event (*start_datetime:s *summary:s attendees_emails:a calendar_id:s create_meeting_room:b description:s event_duration_hour:i event_duration_minutes:i event_type:s guests_can_invite_others:b guests_can_modify:b guests_can_see_other_guests:b location:s recurrence:a send_updates:b timezone:s transparency:s visibility:s @) Put an event into a calendar.
d googlecalendar_delete_acl_rule (*calendar_id:s *rule_id:s @) Stop sharing a calendar with somebody.
d googlecalendar_delete_calendar (*calendar_id:s @) Delete the calendar.
d googlecalendar_delete_event (*event_id:s calendar_id:s @) Take an event out of a calendar.
r googlecalendar_get_acl_rule (*calendar_id:s *rule_id:s) Return one rule of sharing.
r googlecalendar_get_calendar (*calendar_id:s @) Return the calendar.
r googlecalendar_get_calendar_list_entry (*calendar_id:s) Return one entry of the list of calendars.
r googlecalendar_get_colors () Return the colours that calendars and events may have.
r googlecalendar_get_event_by_id (*event_id:s calendar_id:s event_types:a query:s show_deleted:b single_events:b time_max:s time_min:s updated_min:s @) Return one event by its id.
r googlecalendar_get_setting (*setting:s) Return one setting of the user.
w googlecalendar_import_event (*calendar_id:s *end_datetime:s *ical_uid:s *start_datetime:s *summary:s attendees_emails:a description:s location:s status:s timezone:s) Bring in an event that has an iCalendar id of its own.
w googlecalendar_insert_acl_rule (*calendar_id:s *role:s *scope_type:s scope_value:s send_notifications:b @) Share a calendar with somebody.
r googlecalendar_list_acl_rules (*calendar_id:s max_results:i page_token:s @) List whom a calendar is shared with.
r googlecalendar_list_calendars (max_results:i min_access_role:s page_token:s show_deleted:b show_hidden:b sync_token:s @) List the calendars of the user.
r googlecalendar_list_event_instances (*calendar_id:s *event_id:s max_results:i page_token:s time_max:s time_min:s @) List the single dates of a repeated event.
r googlecalendar_list_events (calendar_id:s max_results:i order_by:s page_token:s query:s single_events:b time_max:s time_min:s @) List the events of a calendar in a span of time.
r googlecalendar_list_settings (max_results:i page_token:s sync_token:s) List the settings of the user.
w googlecalendar_move_event (*calendar_id:s *destination_calendar_id:s *event_id:s send_updates:s @) Move an event to another calendar.
r googlecalendar_query_freebusy (*calendar_ids:a *time_max:s *time_min:s timezone:s @) Tell when the calendars are busy in a span of time.
w googlecalendar_quick_add_event (*calendar_id:s *text:s send_updates:s @) Make an event from one line of text, such as: Lunch with Lee on 2026-01-09 at 12:30.
d googlecalendar_remove_calendar_from_list (*calendar_id:s) Hide a calendar from the list of the user.
r googlecalendar_search_events (*calendar_id:s max_results:i order_by:s page_token:s query:s single_events:b time_max:s time_min:s @) Find events of a calendar by text.
d googlecalendar_transfer_calendar_ownership (*calendar_id:s *new_data_owner:s) Give a calendar to another owner.
w googlecalendar_update_acl_rule (*calendar_id:s *role:s *rule_id:s send_notifications:b) Change one rule of sharing.
w googlecalendar_update_calendar (*calendar_id:s description:s location:s summary:s timezone:s @) Change the calendar.
w googlecalendar_update_calendar_list_entry (*calendar_id:s color_id:s hidden:b selected:b summary_override:s) Change one entry of the list of calendars.
w googlecalendar_update_event (*calendar_id:s *event_id:s attendees_emails:a create_meeting_room:b description:s end_datetime:s event_duration_hour:i event_duration_minutes:i event_type:s guests_can_invite_others:b guests_can_modify:b guests_can_see_other_guests:b location:s recurrence:a send_updates:b start_datetime:s summary:s timezone:s transparency:s visibility:s @) Change an event.
]],
}
