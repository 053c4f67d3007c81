-- luacheck: ignore 631
-- All tools of Scalekit's Notion connector: names, parameters and types are the service's, the texts ours.
-- A line: r(eads) w(rites) d(estroys), name, (parameters), text. *p is required; s n i b a o are string,
-- number, integer, boolean, array, object; @ stands for the optional schema_version and tool_version.
return {
  connector = "notion",
  provider = "NOTION",
  label = "Notion",
  tools = [[
r notion_async_task_retrieve (*task_id:s) Tell how far a task in the background is.
d notion_block_delete (*block_id:s) Remove a block.
r notion_block_retrieve (*block_id:s) Return one block.
w notion_block_update (*block_id:s *text:s *type:s language:s) Change the text of a block.
w notion_comment_create (*comment:o discussion_id:s notion_version:s parent:o @) Write a comment on a page or in a discussion.
d notion_comment_delete (*comment_id:s notion_version:s @) Remove a comment.
r notion_comment_retrieve (*comment_id:s notion_version:s @) Return one comment.
w notion_comment_update (*comment_id:s markdown:s notion_version:s rich_text:a @) Change the text of a comment.
r notion_comments_fetch (*block_id:s notion_version:s page_size:i start_cursor:s @) List the comments on a page or block.
r notion_custom_emojis_list (name:s notion_version:s page_size:i start_cursor:s @) List the emojis of the workspace.
r notion_data_fetch (page_size:i query:s start_cursor:s @) Find pages and databases by a text.
w notion_data_source_create (*parent_database_id:s *properties:o icon:o title:s) Add a data source to a database.
r notion_data_source_fetch (*database_id:s) List the data sources of a database.
w notion_data_source_insert_row (*data_source_id:s *properties:o child_blocks:a cover:o icon:o) Put a row into a data source.
r notion_data_source_query (*data_source_id:s filter:o page_size:i sorts:a start_cursor:s) Return the rows of a data source that match a filter.
r notion_data_source_retrieve (*data_source_id:s) Return the columns of a data source.
r notion_data_source_templates_list (*data_source_id:s name:s notion_version:s page_size:i start_cursor:s @) List the page templates of a data source.
w notion_data_source_update (*data_source_id:s icon:o properties:o title:s) Change the title or the columns of a data source.
w notion_database_create (*parent:o *properties:o *title:a @) Make a database with its columns.
r notion_database_fetch (*database_id:s) Return the columns of a database.
w notion_database_insert_row (*database_id:s *properties:o _parent:o child_blocks:a cover:o icon:o @) Put a row into a database.
r notion_database_property_retrieve (*database_id:s property_id:s @) Return the columns of a database, or one of them.
r notion_database_query (*database_id:s filter:o page_size:i sorts:a start_cursor:s @) Return the rows of a database that match a filter.
w notion_database_update (*database_id:s description:s properties:o title:s) Change the title or the columns of a database.
w notion_file_upload_complete (*file_upload_id:s notion_version:s) End the upload of a file.
w notion_file_upload_create (content_type:s external_url:s filename:s mode:s notion_version:s number_of_parts:i @) Begin the upload of a file.
r notion_file_upload_list (notion_version:s page_size:i start_cursor:s status:s @) List uploads of files.
r notion_file_upload_retrieve (*file_upload_id:s notion_version:s @) Tell how an upload stands.
w notion_meeting_note_create (file_upload_id:s kickoff_summary:b language:s notion_version:s parent_page_id:s source_block_id:s title:s) Make a note of a meeting.
r notion_meeting_notes_query (filter:o limit:i notion_version:s sort:a @) Find meeting notes.
w notion_page_content_append (*block_id:s *blocks:a) Add blocks at the end of a page.
r notion_page_content_get (*block_id:s page_size:n start_cursor:s) Return the blocks of a page.
w notion_page_create (_parent:o child_blocks:a cover:o database_id:s icon:o notion_version:s parent_page_id:s properties:o @) Make a page under a page or in a database.
r notion_page_get (*page_id:s) Return the properties of a page.
r notion_page_markdown_get (*page_id:s include_transcript:b) Return the content of a page as Markdown.
w notion_page_markdown_update (*operation_type:s *page_id:s allow_async:b allow_deleting_content:b content_range:s content_updates:a insert_after:s insert_position:s markdown_content:s) Change the content of a page with Markdown.
w notion_page_move (*page_id:s new_parent_data_source_id:s new_parent_page_id:s) Put a page under another page or data source.
r notion_page_property_retrieve (*page_id:s *property_id:s page_size:i start_cursor:s) Return one property of a page.
r notion_page_search (page_size:i query:s sort_direction:s sort_timestamp:s start_cursor:s) Find pages by their titles.
w notion_page_update (*page_id:s archived:b cover:o icon:o properties:o) Change the properties of a page, or archive it.
r notion_user_get (*user_id:s) Return one person of the workspace.
r notion_user_get_self () Return the user the connection belongs to.
r notion_user_list (page_size:n start_cursor:s) List the people of the workspace.
w notion_view_create (*data_source_id:s *name:s *type:s configuration:o create_database:o database_id:s filter:o placement:o position:o quick_filters:o sorts:a) Make a view of a data source.
d notion_view_delete (*view_id:s) Remove a view.
r notion_view_list (data_source_id:s database_id:s page_size:i start_cursor:s) List the views of a database or data source.
w notion_view_query_create (*view_id:s page_size:i) Ask for the rows that a view shows.
d notion_view_query_delete (*query_id:s *view_id:s) Forget an earlier query of a view.
r notion_view_query_results_get (*query_id:s *view_id:s page_size:i start_cursor:s) Return the rows that an earlier query of a view found.
r notion_view_retrieve (*view_id:s) Return one view.
w notion_view_update (*view_id:s configuration:o filter:o name:s quick_filters:o sorts:a) Change the view.
]],
}
