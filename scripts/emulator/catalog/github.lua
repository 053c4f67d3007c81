-- luacheck: ignore 631
-- All tools of Scalekit's GitHub connector: names, parameters and types are the service's, the texts ours.
-- A line: r(eads) w(rites) d(estroys), name, (parameters), text. *p is required; s n i b a o are string,
-- number, integer, boolean, array, object; @ stands for the optional schema_version and tool_version.
return {
  connector = "github",
  provider = "GITHUB",
  label = "GitHub",
  tools = [[
d github_artifact_delete (*artifact_id:n *owner:s *repo:s) Delete the artifact in a repository.
r github_artifact_get (*artifact_id:n *owner:s *repo:s) Return the artifact of a repository.
r github_artifacts_list (*owner:s *repo:s name:s page:n per_page:n) List artifacts of a repository.
w github_branch_create (*branch_name:s *owner:s *repo:s *sha:s) Create a branch in a repository.
r github_branch_get (*branch:s *owner:s *repo:s) Return the branch of a repository.
w github_branch_merge (*base:s *head:s *owner:s *repo:s commit_message:s) Merge one branch into another.
w github_branch_merge_upstream (*branch:s *owner:s *repo:s) Bring a fork branch up to date with its upstream.
d github_branch_protection_delete (*branch:s *owner:s *repo:s) Delete the branch protection in a repository.
r github_branch_protection_get (*branch:s *owner:s *repo:s) Return the branch protection of a repository.
w github_branch_protection_update (*branch:s *enforce_admins:b *owner:s *repo:s *required_pull_request_reviews:o *required_status_checks:o *restrictions:o allow_deletions:b allow_force_pushes:b allow_fork_syncing:b block_creations:b lock_branch:b required_conversation_resolution:b required_linear_history:b) Change the branch protection in a repository.
w github_branch_rename (*branch:s *new_name:s *owner:s *repo:s) Rename a branch in a repository.
r github_branches_list (*owner:s *repo:s page:i per_page:i protected:b) List branches of a repository.
r github_check_run_create (*head_sha:s *name:s *owner:s *repo:s conclusion:s output:o started_at:s status:s) Create a check run in a repository.
r github_check_run_get (*check_run_id:n *owner:s *repo:s) Return the check run of a repository.
r github_check_runs_list_for_ref (*owner:s *ref:s *repo:s check_name:s page:n per_page:n status:s) List the check runs of a commit.
r github_code_scanning_alerts_list (*owner:s *repo:s after:s assignees:s before:s direction:s page:n per_page:n pr:n ref:s severity:s sort:s state:s tool_guid:s tool_name:s) List code scanning alerts of a repository.
w github_collaborator_add (*owner:s *repo:s *username:s permission:s) Add a collaborator in a repository.
r github_collaborator_check (*owner:s *repo:s *username:s) Check the collaborator of a repository.
d github_collaborator_remove (*owner:s *repo:s *username:s) Remove the collaborator in a repository.
r github_collaborators_list (*owner:s *repo:s affiliation:s page:n per_page:n permission:s) List collaborators of a repository.
r github_commit_combined_status_get (*owner:s *ref:s *repo:s page:n per_page:n) Return the commit combined status of a repository.
w github_commit_comment_create (*body:s *commit_sha:s *owner:s *repo:s line:n path:s position:n) Create a commit comment in a repository.
d github_commit_comment_delete (*comment_id:n *owner:s *repo:s) Delete the commit comment in a repository.
r github_commit_comment_get (*comment_id:n *owner:s *repo:s) Return the commit comment of a repository.
w github_commit_comment_update (*body:s *comment_id:n *owner:s *repo:s) Change the commit comment in a repository.
r github_commit_comments_list (*commit_sha:s *owner:s *repo:s page:n per_page:n) List commit comments of a repository.
r github_commit_get (*owner:s *ref:s *repo:s page:n per_page:n) Return the commit of a repository.
r github_commit_pull_requests_list (*commit_sha:s *owner:s *repo:s page:n per_page:n) List commit pull requests of a repository.
w github_commit_status_create (*owner:s *repo:s *sha:s *state:s context:s description:s target_url:s) Create a commit status in a repository.
r github_commit_statuses_list (*owner:s *ref:s *repo:s page:n per_page:n) List commit statuses of a repository.
r github_commits_compare (*basehead:s *owner:s *repo:s page:n per_page:n) Compare commits of a repository.
r github_commits_list (*owner:s *repo:s author:s page:n path:s per_page:n sha:s since:s until:s) List commits of a repository.
r github_dependabot_alerts_list (*owner:s *repo:s after:s assignee:s before:s classification:s direction:s ecosystem:s epss_percentage:s has:s manifest:s package:s per_page:n relationship:s scope:s severity:s sort:s state:s) List dependabot alerts of a repository.
w github_deployment_create (*owner:s *ref:s *repo:s auto_merge:b description:s environment:s payload:o production_environment:b required_contexts:a task:s transient_environment:b) Create a deployment in a repository.
d github_deployment_delete (*deployment_id:n *owner:s *repo:s) Delete the deployment in a repository.
r github_deployment_get (*deployment_id:n *owner:s *repo:s) Return the deployment of a repository.
w github_deployment_status_create (*deployment_id:n *owner:s *repo:s *state:s auto_inactive:b description:s environment:s environment_url:s log_url:s) Create a deployment status in a repository.
r github_deployments_list (*owner:s *repo:s environment:s page:n per_page:n ref:s sha:s task:s) List deployments of a repository.
w github_environment_create_update (*environment_name:s *owner:s *repo:s deployment_branch_policy:o prevent_self_review:b reviewers:a wait_timer:n) Create or change an environment in a repository.
r github_environments_list (*owner:s *repo:s page:n per_page:n) List environments of a repository.
r github_file_contents_get (*owner:s *path:s *repo:s ref:s) Return file contents of a repository.
w github_file_create_update (*content:s *message:s *owner:s *path:s *repo:s author:o branch:s committer:o sha:s) Write a file in a repository as a commit.
d github_file_delete (*message:s *owner:s *path:s *repo:s *sha:s branch:s) Delete the file in a repository.
w github_gist_comment_create (*body:s *gist_id:s) Create a gist comment.
d github_gist_comment_delete (*comment_id:n *gist_id:s) Delete the gist comment.
w github_gist_comment_update (*body:s *comment_id:n *gist_id:s) Change the gist comment.
r github_gist_comments_list (*gist_id:s page:n per_page:n) List gist comments.
w github_gist_create (*files:o description:s public:b) Create a gist.
d github_gist_delete (*gist_id:s) Delete the gist.
r github_gist_get (*gist_id:s) Return the gist.
w github_gist_star (*gist_id:s) Star a gist.
w github_gist_unstar (*gist_id:s) Unstar a gist.
w github_gist_update (*gist_id:s description:s files:o) Change the gist.
r github_gists_list (page:n per_page:n since:s) List gists.
w github_git_blob_create (*content:s *owner:s *repo:s encoding:s) Create a git blob in a repository.
w github_git_commit_create (*message:s *owner:s *repo:s *tree:s author:o parents:a) Create a git commit in a repository.
d github_git_ref_delete (*owner:s *ref:s *repo:s) Delete the git ref in a repository.
r github_git_ref_get (*owner:s *ref:s *repo:s) Return the git ref of a repository.
w github_git_ref_update (*owner:s *ref:s *repo:s *sha:s force:b) Change the git ref in a repository.
w github_git_tag_create (*message:s *object:s *owner:s *repo:s *tag:s *type:s tagger_date:s tagger_email:s tagger_name:s) Create a git tag in a repository.
r github_git_tag_get (*owner:s *repo:s *tag_sha:s) Return the git tag of a repository.
w github_git_tree_create (*owner:s *repo:s *tree:a base_tree:s) Create a git tree in a repository.
r github_git_tree_get (*owner:s *repo:s *tree_sha:s recursive:b) Return the git tree of a repository.
r github_gitignore_template_get (*name:s) Return the gitignore template.
r github_gitignore_templates_list () List gitignore templates.
w github_issue_assignees_add (*issue_number:n *owner:s *repo:s assignees:a) Add issue assignees in a repository.
d github_issue_assignees_remove (*issue_number:n *owner:s *repo:s assignees:a) Remove issue assignees in a repository.
w github_issue_comment_create (*body:s *issue_number:n *owner:s *repo:s) Write a comment on an issue or pull request.
d github_issue_comment_delete (*comment_id:n *owner:s *repo:s) Delete the issue comment in a repository.
r github_issue_comment_get (*comment_id:n *owner:s *repo:s) Return the issue comment of a repository.
w github_issue_comment_update (*body:s *comment_id:n *owner:s *repo:s) Change the issue comment in a repository.
r github_issue_comments_list (*issue_number:n *owner:s *repo:s page:n per_page:n since:s) List issue comments of a repository.
w github_issue_create (*owner:s *repo:s *title:s assignees:a body:s labels:a milestone:n type:s) Open an issue in a repository.
r github_issue_events_list (*issue_number:n *owner:s *repo:s page:n per_page:n) List issue events of a repository.
r github_issue_get (*issue_number:n *owner:s *repo:s) Return one issue by its number.
d github_issue_label_remove (*issue_number:n *label_name:s *owner:s *repo:s) Remove the issue label in a repository.
w github_issue_labels_add (*issue_number:n *labels:a *owner:s *repo:s) Add issue labels in a repository.
d github_issue_labels_remove_all (*issue_number:n *owner:s *repo:s) Remove the issue labels all in a repository.
w github_issue_labels_set (*issue_number:n *labels:a *owner:s *repo:s) Set issue labels in a repository.
w github_issue_lock (*issue_number:n *owner:s *repo:s lock_reason:s) Lock an issue in a repository.
w github_issue_reaction_create (*content:s *issue_number:n *owner:s *repo:s) Create an issue reaction in a repository.
r github_issue_reaction_list (*issue_number:n *owner:s *repo:s content:s page:n per_page:n) List issue reaction of a repository.
r github_issue_timeline_list (*issue_number:n *owner:s *repo:s page:n per_page:n) List issue timeline of a repository.
w github_issue_unlock (*issue_number:n *owner:s *repo:s) Unlock an issue in a repository.
w github_issue_update (*issue_number:n *owner:s *repo:s assignees:a body:s labels:a milestone:n state:s state_reason:s title:s) Change the title, text, state or labels of an issue.
r github_issues_list (*owner:s *repo:s assignee:s creator:s direction:s labels:s milestone:s page:n per_page:n since:s sort:s state:s) List the issues of a repository.
w github_label_create (*name:s *owner:s *repo:s color:s description:s) Create a label in a repository.
d github_label_delete (*name:s *owner:s *repo:s) Delete the label in a repository.
r github_label_get (*label_name:s *owner:s *repo:s) Return the label of a repository.
w github_label_update (*name:s *owner:s *repo:s color:s description:s new_name:s) Change the label in a repository.
r github_labels_list (*owner:s *repo:s page:n per_page:n) List labels of a repository.
r github_license_get (*license:s) Return the license.
w github_milestone_create (*owner:s *repo:s *title:s description:s due_on:s state:s) Create a milestone in a repository.
d github_milestone_delete (*milestone_number:n *owner:s *repo:s) Delete the milestone in a repository.
r github_milestone_get (*milestone_number:n *owner:s *repo:s) Return the milestone of a repository.
w github_milestone_update (*milestone_number:n *owner:s *repo:s description:s due_on:s state:s title:s) Change the milestone in a repository.
r github_milestones_list (*owner:s *repo:s direction:s page:n per_page:n sort:s state:s) List milestones of a repository.
r github_notifications_list (all:b before:s page:n participating:b per_page:n since:s) List notifications.
r github_org_get (*org:s) Return the organization.
r github_org_issue_types_list (*org:s) List organization issue types.
r github_org_issues_list (*org:s direction:s filter:s labels:s page:n per_page:n since:s sort:s state:s) List organization issues.
d github_org_member_remove (*org:s *username:s) Remove the organization member.
r github_org_members_list (*org:s filter:s page:n per_page:n role:s) List organization members.
r github_org_membership_get (*org:s *username:s) Return the organization membership.
w github_org_membership_set (*org:s *username:s role:s) Set an organization membership.
w github_org_update (*org:s billing_email:s company:s default_repository_permission:s description:s email:s has_organization_projects:b has_repository_projects:b location:s members_can_create_repositories:b name:s) Change the organization.
r github_public_repos_list (*username:s direction:s page:n per_page:n sort:s type:s) List public repositories.
w github_pull_request_branch_update (*owner:s *pull_number:n *repo:s expected_head_sha:s) Change the pull request branch in a repository.
w github_pull_request_comment_create (*body:s *commit_id:s *owner:s *path:s *pull_number:n *repo:s line:n position:n side:s start_line:n start_side:s) Create a pull request comment in a repository.
r github_pull_request_commits_list (*owner:s *pull_number:n *repo:s page:n per_page:n) List pull request commits of a repository.
w github_pull_request_create (*base:s *head:s *owner:s *repo:s body:s draft:b maintainer_can_modify:b title:s) Create a pull request in a repository.
r github_pull_request_files_list (*owner:s *pull_number:n *repo:s page:n per_page:n) List pull request files of a repository.
r github_pull_request_get (*owner:s *pull_number:n *repo:s) Return the pull request of a repository.
w github_pull_request_merge (*owner:s *pull_number:n *repo:s commit_message:s commit_title:s merge_method:s sha:s) Merge a pull request in a repository.
r github_pull_request_merge_check (*owner:s *pull_number:n *repo:s) Check the pull request merge of a repository.
r github_pull_request_requested_reviewers_list (*owner:s *pull_number:n *repo:s) List pull request requested reviewers of a repository.
d github_pull_request_review_comment_delete (*comment_id:n *owner:s *repo:s) Delete the pull request review comment in a repository.
r github_pull_request_review_comment_get (*comment_id:n *owner:s *repo:s) Return the pull request review comment of a repository.
w github_pull_request_review_comment_update (*body:s *comment_id:n *owner:s *repo:s) Change the pull request review comment in a repository.
r github_pull_request_review_comments_list (*owner:s *pull_number:n *repo:s direction:s page:n per_page:n since:s sort:s) List pull request review comments of a repository.
w github_pull_request_review_create (*owner:s *pull_number:n *repo:s body:s comments:a commit_id:s event:s) Create a pull request review in a repository.
d github_pull_request_review_delete (*owner:s *pull_number:n *repo:s *review_id:n) Delete the pull request review in a repository.
w github_pull_request_review_dismiss (*message:s *owner:s *pull_number:n *repo:s *review_id:n event:s) Dismiss a pull request review in a repository.
r github_pull_request_review_get (*owner:s *pull_number:n *repo:s *review_id:n) Return the pull request review of a repository.
w github_pull_request_review_submit (*event:s *owner:s *pull_number:n *repo:s *review_id:n body:s) Submit a pull request review in a repository.
w github_pull_request_review_update (*body:s *owner:s *pull_number:n *repo:s *review_id:n) Change the pull request review in a repository.
d github_pull_request_reviewers_remove (*owner:s *pull_number:n *repo:s *reviewers:a team_reviewers:a) Remove pull request reviewers in a repository.
w github_pull_request_reviewers_request (*owner:s *pull_number:n *repo:s reviewers:a team_reviewers:a) Ask for pull request reviewers in a repository.
r github_pull_request_reviews_list (*owner:s *pull_number:n *repo:s page:n per_page:n) List pull request reviews of a repository.
w github_pull_request_update (*owner:s *pull_number:n *repo:s base:s body:s state:s title:s) Change the pull request in a repository.
r github_pull_requests_list (*owner:s *repo:s base:s direction:s head:s page:n per_page:n sort:s state:s) List pull requests of a repository.
r github_readme_get (*owner:s *repo:s ref:s) Return the readme of a repository.
d github_release_asset_delete (*asset_id:n *owner:s *repo:s) Delete the release asset in a repository.
r github_release_asset_get (*asset_id:n *owner:s *repo:s) Return the release asset of a repository.
r github_release_assets_list (*owner:s *release_id:n *repo:s page:n per_page:n) List release assets of a repository.
w github_release_create (*owner:s *repo:s *tag_name:s body:s draft:b generate_release_notes:b name:s prerelease:b target_commitish:s) Create a release in a repository.
d github_release_delete (*owner:s *release_id:n *repo:s) Delete the release in a repository.
r github_release_get (*owner:s *release_id:n *repo:s) Return the release of a repository.
r github_release_get_by_tag (*owner:s *repo:s *tag:s) Return the release of a tag.
r github_release_get_latest (*owner:s *repo:s) Return the newest release of a repository.
w github_release_update (*owner:s *release_id:n *repo:s body:s draft:b generate_release_notes:b name:s prerelease:b tag_name:s target_commitish:s) Change the release in a repository.
r github_releases_list (*owner:s *repo:s page:n per_page:n) List releases of a repository.
r github_repo_contributors_list (*owner:s *repo:s anon:s page:n per_page:n) List repository contributors.
w github_repo_create_for_user (*name:s auto_init:b description:s gitignore_template:s has_issues:b has_projects:b has_wiki:b homepage:s is_template:b license_template:s private:b) Create a repository for the connected user.
w github_repo_create_from_template (*name:s *template_owner:s *template_repo:s description:s include_all_branches:b owner:s private:b) Create a repository from a template.
w github_repo_create_in_org (*name:s *org:s auto_init:b description:s gitignore_template:s has_issues:b has_projects:b has_wiki:b homepage:s is_template:b license_template:s private:b) Create a repository in an organization.
d github_repo_delete (*owner:s *repo:s) Delete the repository.
w github_repo_dispatch_event_create (*event_type:s *owner:s *repo:s client_payload:o) Send a custom event to a repository.
w github_repo_fork_create (*owner:s *repo:s default_branch_only:b name:s organization:s) Create a repository fork.
r github_repo_forks_list (*owner:s *repo:s page:n per_page:n sort:s) List repository forks.
r github_repo_get (*owner:s *repo:s) Return the repository.
d github_repo_invitation_delete (*invitation_id:n *owner:s *repo:s) Delete the repository invitation.
w github_repo_invitation_update (*invitation_id:n *owner:s *repo:s permissions:s) Change the repository invitation.
r github_repo_invitations_list (*owner:s *repo:s page:n per_page:n) List repository invitations.
r github_repo_languages_list (*owner:s *repo:s) List repository languages.
r github_repo_license_get (*owner:s *repo:s ref:s) Return the repository license.
r github_repo_org_repos_list (*org:s direction:s page:n per_page:n sort:s type:s) List repository organization repositories.
d github_repo_secret_delete (*owner:s *repo:s *secret_name:s) Delete the repository secret.
r github_repo_secret_get (*owner:s *repo:s *secret_name:s) Return the repository secret.
r github_repo_secrets_list (*owner:s *repo:s page:n per_page:n) List repository secrets.
w github_repo_star (*owner:s *repo:s) Star a repository.
w github_repo_subscription_set (*owner:s *repo:s ignored:b subscribed:b) Set a repository subscription.
r github_repo_topics_get (*owner:s *repo:s page:n per_page:n) Return repository topics.
w github_repo_topics_replace (*names:a *owner:s *repo:s) Replace repository topics.
d github_repo_transfer (*new_owner:s *owner:s *repo:s new_name:s team_ids:a) Transfer the repository.
w github_repo_unstar (*owner:s *repo:s) Unstar a repository.
w github_repo_update (*owner:s *repo:s allow_auto_merge:b allow_forking:b allow_merge_commit:b allow_rebase_merge:b allow_squash_merge:b archived:b default_branch:s delete_branch_on_merge:b description:s has_issues:b has_projects:b has_wiki:b homepage:s name:s private:b) Change the repository.
w github_repo_variable_create (*name:s *owner:s *repo:s *value:s) Create a repository variable.
d github_repo_variable_delete (*owner:s *repo:s *variable_name:s) Delete the repository variable.
r github_repo_variable_get (*owner:s *repo:s *variable_name:s) Return the repository variable.
w github_repo_variable_update (*owner:s *repo:s *variable_name:s name:s value:s) Change the repository variable.
r github_repo_variables_list (*owner:s *repo:s page:n per_page:n) List repository variables.
r github_search_code (*q:s order:s page:n per_page:n sort:s) Search code.
r github_search_commits (*q:s order:s page:n per_page:n sort:s) Search commits.
r github_search_issues (*q:s order:s page:n per_page:n sort:s) Search issues and pull requests.
r github_search_repos (*q:s order:s page:n per_page:n sort:s) Search repositories.
r github_search_topics (*q:s page:n per_page:n) Search topics.
r github_search_users (*q:s order:s page:n per_page:n sort:s) Search users.
r github_secret_scanning_alerts_list (*owner:s *repo:s after:s assignee:s before:s direction:s exclude_providers:s exclude_secret_types:s is_multi_repo:b is_publicly_leaked:b page:n per_page:n providers:s resolution:s secret_type:s sort:s state:s validity:s) List secret scanning alerts of a repository.
r github_stargazers_list (*owner:s *repo:s page:n per_page:n) List stargazers of a repository.
r github_starred_repos_list (direction:s page:n per_page:n sort:s) List starred repositories.
w github_sub_issue_add (*issue_number:n *owner:s *repo:s *sub_issue_id:n replace_parent:b) Add a sub issue in a repository.
d github_sub_issue_remove (*issue_number:n *owner:s *repo:s *sub_issue_id:n) Remove the sub issue in a repository.
r github_sub_issues_list (*issue_number:n *owner:s *repo:s page:n per_page:n) List sub issues of a repository.
r github_tags_list (*owner:s *repo:s page:n per_page:n) List tags of a repository.
w github_team_create (*name:s *org:s description:s maintainers:a parent_team_id:n privacy:s repo_names:a) Create a team of an organization.
d github_team_delete (*org:s *team_slug:s) Delete the team of an organization.
r github_team_get (*org:s *team_slug:s) Return the team of an organization.
d github_team_member_remove (*org:s *team_slug:s *username:s) Remove the team member of an organization.
r github_team_members_list (*org:s *team_slug:s page:n per_page:n role:s) List team members of an organization.
r github_team_membership_get (*org:s *team_slug:s *username:s) Return the team membership of an organization.
w github_team_membership_set (*org:s *team_slug:s *username:s role:s) Set a team membership of an organization.
w github_team_repo_add (*org:s *owner:s *repo:s *team_slug:s permission:s) Add a team repository of an organization.
d github_team_repo_remove (*org:s *owner:s *repo:s *team_slug:s) Remove the team repository of an organization.
r github_team_repos_list (*org:s *team_slug:s page:n per_page:n) List team repositories of an organization.
w github_team_update (*org:s *team_slug:s description:s name:s parent_team_id:n privacy:s) Change the team of an organization.
r github_teams_list (*org:s page:n per_page:n) List teams of an organization.
r github_user_get_authenticated () Return the user the connection belongs to.
r github_user_get_by_username (*username:s) Return a user by name.
r github_user_issues_list (direction:s filter:s labels:s page:n per_page:n since:s sort:s state:s) List issues assigned to the connected user.
r github_user_repos_list (direction:s page:n per_page:n sort:s type:s) List repositories of the connected user.
w github_webhook_create (*config:o *owner:s *repo:s active:b events:a name:s) Create a webhook in a repository.
d github_webhook_delete (*hook_id:n *owner:s *repo:s) Delete the webhook in a repository.
r github_webhook_get (*hook_id:n *owner:s *repo:s) Return the webhook of a repository.
w github_webhook_ping (*hook_id:n *owner:s *repo:s) Ping a webhook in a repository.
w github_webhook_update (*hook_id:n *owner:s *repo:s active:b add_events:a config:o events:a remove_events:a) Change the webhook in a repository.
r github_webhooks_list (*owner:s *repo:s page:n per_page:n) List webhooks of a repository.
w github_workflow_disable (*owner:s *repo:s *workflow_id:s) Disable a workflow in a repository.
w github_workflow_dispatch (*owner:s *ref:s *repo:s *workflow_id:s inputs:o) Start a workflow in a repository.
w github_workflow_enable (*owner:s *repo:s *workflow_id:s) Enable a workflow in a repository.
r github_workflow_get (*owner:s *repo:s *workflow_id:s) Return the workflow of a repository.
d github_workflow_run_cancel (*owner:s *repo:s *run_id:n) Cancel the workflow run in a repository.
r github_workflow_run_get (*owner:s *repo:s *run_id:n) Return the workflow run of a repository.
r github_workflow_run_jobs_list (*owner:s *repo:s *run_id:n filter:s page:n per_page:n) List workflow run jobs of a repository.
w github_workflow_run_rerun (*owner:s *repo:s *run_id:n enable_debug_logging:b) Run again: a workflow run in a repository.
r github_workflow_runs_list (*owner:s *repo:s actor:s branch:s event:s page:n per_page:n status:s) List workflow runs of a repository.
r github_workflows_list (*owner:s *repo:s page:n per_page:n) List workflows of a repository.
]],
}
