/* Every call of Scalekit AgentKit as a row. Read by skwire.c, which builds and checks requests, and by
 * lua_scalekit.c, which makes a function of each. Limits are those of the service's own descriptors: what
 * breaks one is refused here, before anything is sent. Holds no code. */
#include "skrows.h"

#define CONNECTION_CHARS "a-zA-Z0-9_: -"
#define CONNECTION(where, ...)                                                                               \
    {                                                                                                        \
        .name = "connection_name", .wire = "connector", .place = where, .max = 400,                          \
        .chars = CONNECTION_CHARS, __VA_ARGS__                                                               \
    }
#define IDENTIFIER(where, ...)                                                                               \
    {                                                                                                        \
        .name = "identifier", .place = where, .max = 100, __VA_ARGS__                                        \
    }
#define ORGANIZATION(where)                                                                                  \
    {                                                                                                        \
        .name = "organization_id", .place = where, .max = 32                                                 \
    }
#define USER(where)                                                                                          \
    {                                                                                                        \
        .name = "user_id", .place = where, .max = 32                                                         \
    }
#define ACCOUNT_ID(where)                                                                                    \
    {                                                                                                        \
        .name = "id", .place = where, .max = 32, .prefix = "ca_"                                             \
    }
#define PAGES(most)                                                                                          \
    {.name = "page_size", .type = AH_SKWIRE_INT, .max = most},                                               \
    {                                                                                                        \
        .name = "page_token"                                                                                 \
    }
#define PATH(what, ...)                                                                                      \
    {                                                                                                        \
        .name = what, .place = AH_SKWIRE_PATH, .required = true, .min = 1, __VA_ARGS__                       \
    }
#define END                                                                                                  \
    {                                                                                                        \
        .name = NULL                                                                                         \
    }
#define Q AH_SKWIRE_QUERY
#define B AH_SKWIRE_BODY

static const struct ah_skwire_field no_fields[] = {END};
static const struct ah_skwire_field token_fields[] = {
    {.name = "grant_type", .place = AH_SKWIRE_FORM, .required = true},
    {.name = "client_id", .place = AH_SKWIRE_FORM, .required = true},
    {.name = "client_secret", .place = AH_SKWIRE_FORM, .required = true},
    END,
};

/* --- connected accounts --------------------------------------------------------------------------- */

static const struct ah_skwire_field oauth_token_fields[] = {
    {.name = "access_token"},
    {.name = "refresh_token"},
    {.name = "scopes", .type = AH_SKWIRE_STRINGS},
    {.name = "domain"},
    END,
};
static const struct ah_skwire_field static_auth_fields[] = {
    {.name = "details", .type = AH_SKWIRE_OBJECT, .required = true},
    END,
};
static const struct ah_skwire_field google_dwd_fields[] = {{.name = "subject", .required = true}, END};
static const struct ah_skwire_field trusted_idp_fields[] = {{.name = "db_user", .required = true}, END};
static const struct ah_skwire_field authorization_fields[] = {
    {.name = "oauth_token", .type = AH_SKWIRE_OBJECT, .of = oauth_token_fields},
    {.name = "static_auth", .type = AH_SKWIRE_OBJECT, .of = static_auth_fields},
    {.name = "google_dwd", .type = AH_SKWIRE_OBJECT, .of = google_dwd_fields},
    {.name = "trusted_idp", .type = AH_SKWIRE_OBJECT, .of = trusted_idp_fields},
    END,
};
#define AUTHORIZATION                                                                                        \
    {.name = "authorization_details",                                                                        \
     .place = AH_SKWIRE_INNER,                                                                               \
     .type = AH_SKWIRE_ONE_OF,                                                                               \
     .of = authorization_fields},                                                                            \
    {                                                                                                        \
        .name = "api_config", .place = AH_SKWIRE_INNER, .type = AH_SKWIRE_OBJECT                             \
    }

static const struct ah_skwire_field list_accounts_fields[] = {
    ORGANIZATION(Q),
    USER(Q),
    CONNECTION(Q),
    IDENTIFIER(Q),
    {.name = "provider", .max = 50},
    {.name = "query", .max = 100},
    {.name = "connection_names", .type = AH_SKWIRE_STRINGS, .max = 20},
    PAGES(99), /* 100 itself is refused */
    END,
};
static const struct ah_skwire_field search_accounts_fields[] = {
    {.name = "query", .required = true, .min = 3, .max = 200},
    {.name = "connection_id", .max = 32},
    PAGES(30),
    END,
};
static const struct ah_skwire_field create_account_fields[] = {
    CONNECTION(B, .required = true),
    IDENTIFIER(B, .required = true, .own = true),
    ORGANIZATION(B),
    USER(B),
    AUTHORIZATION,
    END,
};
static const struct ah_skwire_field update_account_fields[] = {
    CONNECTION(B), IDENTIFIER(B, .own = true), ACCOUNT_ID(B), ORGANIZATION(B), USER(B), AUTHORIZATION, END,
};
static const struct ah_skwire_field read_account_fields[] = {
    CONNECTION(Q), IDENTIFIER(Q, .own = true), ORGANIZATION(Q), USER(Q), ACCOUNT_ID(Q), END,
};
static const struct ah_skwire_field delete_account_fields[] = {
    CONNECTION(B), IDENTIFIER(B, .own = true), ORGANIZATION(B), USER(B), ACCOUNT_ID(B), END,
};
static const struct ah_skwire_field account_id_fields[] = {PATH("id", .max = 32), END};
static const struct ah_skwire_field link_fields[] = {
    CONNECTION(B),
    IDENTIFIER(B, .own = true),
    ACCOUNT_ID(B),
    ORGANIZATION(B),
    USER(B),
    {.name = "state", .place = B, .max = 512},
    {.name = "user_verify_url", .place = B, .max = 2048, .prefix = "http://|https://"},
    END,
};
static const struct ah_skwire_field verify_fields[] = {
    {.name = "auth_request_id", .place = B, .required = true, .max = 1000},
    {.name = "identifier",
     .place = B,
     .required = true,
     .max = 200}, /* from the app's own session, never ours */
    END,
};

/* --- connections and providers ---------------------------------------------------------------------- */

static const struct ah_skwire_field list_connections_fields[] = {
    {.name = "provider", .max = 50},
    {.name = "query", .min = 3, .max = 100},
    PAGES(30),
    END,
};
static const struct ah_skwire_field connection_id_fields[] = {PATH("connection_id", .max = 32), END};
static const struct ah_skwire_field create_connection_fields[] = {
    {.name = "provider", .place = B},
    {.name = "type", .place = B},
    {.name = "provider_key", .place = B},
    {.name = "key_id", .place = B},
    END,
};
static const struct ah_skwire_field update_connection_fields[] = {
    PATH("connection_id", .max = 32),
    {.name = "connection", .place = AH_SKWIRE_WHOLE, .type = AH_SKWIRE_OBJECT, .required = true},
    END,
};
static const struct ah_skwire_field list_providers_fields[] = {
    {.name = "identifier", .max = 255, .chars = "a-zA-Z0-9_:-"},
    {.name = "provider_type", .wire = "filter.provider_type", .choices = "DEFAULT|CUSTOM|ALL"},
    PAGES(0),
    END,
};
#define CUSTOM_PROVIDER                                                                                      \
    {.name = "display_name", .place = B, .required = true, .max = 200, .chars = "a-zA-Z0-9 "},               \
        {.name = "description", .place = B},                                                                 \
        {.name = "auth_patterns", .place = B, .type = AH_SKWIRE_OBJECTS, .required = true, .min = 1},        \
        {.name = "proxy_url", .place = B, .max = 2048, .prefix = "https://"},                                \
        {.name = "proxy_enabled", .place = B, .type = AH_SKWIRE_BOOL},                                       \
        {.name = "icon_src", .place = B, .max = 2048, .prefix = "https://"},                                 \
    {                                                                                                        \
        .name = "metadata", .place = B, .type = AH_SKWIRE_MAP                                                \
    }
static const struct ah_skwire_field create_provider_fields[] = {CUSTOM_PROVIDER, END};
static const struct ah_skwire_field update_provider_fields[] = {
    PATH("identifier", .max = 255), CUSTOM_PROVIDER, END, /* the whole object: sources disagree on parts */
};
static const struct ah_skwire_field provider_id_fields[] = {PATH("identifier", .max = 255), END};

/* --- tools ------------------------------------------------------------------------------------------- */

static const struct ah_skwire_field list_tools_fields[] = {
    {.name = "summary", .wire = "filter.summary", .type = AH_SKWIRE_BOOL},
    {.name = "provider", .wire = "filter.provider", .max = 50},
    {.name = "identifier", .wire = "filter.identifier", .max = 100},
    {.name = "tool_names", .wire = "filter.tool_name", .type = AH_SKWIRE_STRINGS},
    {.name = "query", .wire = "filter.query", .min = 3, .max = 100},
    {.name = "connection_name", .wire = "filter.connector", .max = 400, .chars = CONNECTION_CHARS},
    {.name = "organization_id", .wire = "filter.organization_id", .max = 32},
    {.name = "user_id", .wire = "filter.user_id", .max = 32},
    {.name = "connected_account_id", .wire = "filter.connected_account_id", .max = 100, .prefix = "ca_"},
    PAGES(0),
    END,
};
static const struct ah_skwire_field scoped_tools_fields[] = {
    IDENTIFIER(Q, .required = true, .own = true),
    {.name = "providers", .wire = "filter.providers", .type = AH_SKWIRE_STRINGS},
    {.name = "tool_names", .wire = "filter.tool_names", .type = AH_SKWIRE_STRINGS},
    {.name = "connection_names", .wire = "filter.connection_names", .type = AH_SKWIRE_STRINGS},
    PAGES(0),
    END,
};
static const struct ah_skwire_field available_tools_fields[] = {
    IDENTIFIER(Q, .required = true, .own = true),
    PAGES(0),
    END,
};
static const struct ah_skwire_field execute_fields[] = {
    {.name = "tool_name", .place = B, .required = true},
    {.name = "tool_input", .wire = "params", .place = B, .type = AH_SKWIRE_OBJECT},
    {.name = "connected_account_id", .place = B, .max = 100},
    {.name = "identifier", .place = B},
    CONNECTION(B),
    {.name = "organization_id", .place = B, .max = 100},
    {.name = "user_id", .place = B, .max = 100},
    {.name = "agent_run_id", .place = B, .max = 255},
    END,
};
static const struct ah_skwire_field tool_fields[] = {
    {.name = "tool", .place = AH_SKWIRE_WHOLE, .type = AH_SKWIRE_OBJECT, .required = true},
    END,
};
static const struct ah_skwire_field tool_id_fields[] = {PATH("id", .prefix = "tol_"), END};
static const struct ah_skwire_field default_tool_fields[] = {
    {.name = "name", .place = B, .required = true, .max = 100},
    {.name = "schema_version", .place = B, .required = true, .max = 10},
    {.name = "tool_version", .place = B, .required = true, .max = 10},
    END,
};

/* --- virtual MCP servers ------------------------------------------------------------------------------ */

static const struct ah_skwire_field mapping_fields[] = {
    {.name = "connection_name", .required = true},
    {.name = "tools", .type = AH_SKWIRE_STRINGS}, /* none: all */
    END,
};
#define MAPPINGS                                                                                             \
    {                                                                                                        \
        .name = "connection_tool_mappings", .place = B, .type = AH_SKWIRE_OBJECTS, .max = 25,                \
        .of = mapping_fields                                                                                 \
    }
static const struct ah_skwire_field list_configs_fields[] = {
    {.name = "id", .wire = "filter.id"},
    {.name = "name", .wire = "filter.name"},
    {.name = "provider", .wire = "filter.provider"},
    {.name = "mcp_server_url", .wire = "filter.mcp_server_url"},
    {.name = "search", .min = 3},
    PAGES(30),
    END,
};
static const struct ah_skwire_field create_config_fields[] = {
    {.name = "name", .place = B, .required = true, .max = 100, .chars = "a-z0-9_-"},
    {.name = "description", .place = B},
    MAPPINGS,
    END,
};
static const struct ah_skwire_field update_config_fields[] = {
    PATH("config_id"),
    {.name = "description", .place = B},
    MAPPINGS,
    END,
};
static const struct ah_skwire_field config_id_fields[] = {PATH("config_id"), END};
static const struct ah_skwire_field config_accounts_fields[] = {
    PATH("config_id"),
    {.name = "identifier", .place = B, .required = true, .own = true},
    {.name = "include_auth_link", .place = B, .type = AH_SKWIRE_BOOL},
    END,
};
static const struct ah_skwire_field config_token_fields[] = {
    PATH("mcp_config_id"),
    {.name = "identifier", .place = B, .required = true, .own = true, .max = 255},
    {.name = "expiry", .place = B, .type = AH_SKWIRE_SECONDS, .min = 60, .max = 86400},
    END,
};
static const struct ah_skwire_field ensure_instance_fields[] = {
    {.name = "name", .place = B},
    {.name = "config_name", .place = B, .required = true},
    {.name = "user_identifier", .place = B, .required = true, .own = true},
    END,
};
static const struct ah_skwire_field list_instances_fields[] = {
    {.name = "id", .wire = "filter.id"},
    {.name = "name", .wire = "filter.name"},
    {.name = "config_name", .wire = "filter.config_name"},
    {.name = "user_identifier", .wire = "filter.user_identifier"},
    {.name = "search", .min = 3},
    PAGES(30),
    END,
};
static const struct ah_skwire_field instance_id_fields[] = {PATH("instance_id"), END};
static const struct ah_skwire_field update_instance_fields[] = {
    PATH("instance_id"),
    {.name = "name", .place = B},
    {.name = "config_name", .place = B},
    END,
};
static const struct ah_skwire_field auth_state_fields[] = {
    PATH("instance_id"),
    {.name = "include_auth_links", .type = AH_SKWIRE_BOOL},
    END,
};
static const struct ah_skwire_field legacy_mapping_fields[] = {
    {.name = "connection_name", .required = true},
    {.name = "tool_names", .type = AH_SKWIRE_STRINGS},
    END,
};
static const struct ah_skwire_field create_mcp_fields[] = {
    {.name = "connected_account_identifier", .place = B, .required = true, .own = true},
    {.name = "tool_mappings",
     .place = B,
     .type = AH_SKWIRE_OBJECTS,
     .required = true,
     .min = 1,
     .of = legacy_mapping_fields},
    END,
};
static const struct ah_skwire_field list_mcp_fields[] = {
    {.name = "connected_account_identifier", .wire = "filter.connected_account_identifier"},
    {.name = "link_token", .wire = "filter.link_token"},
    END,
};
static const struct ah_skwire_field mcp_id_fields[] = {PATH("mcp_id"), END};

/* --- log, analytics, events ------------------------------------------------------------------------------ */

#define STATUSES "success|provider_error|platform_error"
static const struct ah_skwire_field log_fields[] = {
    {.name = "start_time", .type = AH_SKWIRE_TIME},
    {.name = "end_time", .type = AH_SKWIRE_TIME},
    {.name = "status", .type = AH_SKWIRE_STRINGS, .choices = STATUSES},
    {.name = "provider", .type = AH_SKWIRE_STRINGS},
    {.name = "connection_id"},
    {.name = "connected_account_id"},
    {.name = "identifier", .max = 255},
    {.name = "agent_run_id", .max = 255},
    {.name = "connection_name", .max = 255},
    {.name = "page_size", .type = AH_SKWIRE_INT, .min = 1, .max = 100},
    {.name = "page_token"},
    END,
};
static const struct ah_skwire_field execution_id_fields[] = {PATH("execution_id", .max = 64), END};
static const struct ah_skwire_field overview_fields[] = {
    {.name = "start_time", .type = AH_SKWIRE_TIME, .required = true},
    {.name = "end_time", .type = AH_SKWIRE_TIME, .required = true},
    {.name = "provider", .type = AH_SKWIRE_STRINGS},
    {.name = "status", .type = AH_SKWIRE_STRINGS, .choices = STATUSES},
    {.name = "error_code", .type = AH_SKWIRE_STRINGS},
    {.name = "connection_name", .max = 255},
    END,
};
static const struct ah_skwire_field events_fields[] = {
    {.name = "event_types", .place = B, .type = AH_SKWIRE_STRINGS},
    {.name = "start_time", .place = B, .type = AH_SKWIRE_TIME},
    {.name = "end_time", .place = B, .type = AH_SKWIRE_TIME},
    {.name = "organization_id", .place = B},
    {.name = "source", .place = B},
    {.name = "auth_request_id", .place = B},
    {.name = "interceptor_id", .place = B},
    {.name = "interceptor_status", .place = B},
    {.name = "interceptor_decision", .place = B},
    {.name = "connection_id", .place = B},
    {.name = "connected_account_id", .place = B},
    PAGES(0),
    END,
};

/* --- the table ------------------------------------------------------------------------------------------- */

#define READS .resend = true, .effect = AH_SKWIRE_READS
#define SETTLES .effect = AH_SKWIRE_IDEMPOTENT /* a second one changes nothing or is refused */
#define ACTS .effect = AH_SKWIRE_UNSAFE
#define ACCOUNTS "/api/v1/connected_accounts"
#define CONFIGS "/api/v1/mcp/configs"
#define INSTANCES "/api/v1/mcp/instances"

static const struct ah_skwire_row rows[] = {
    {"token", "POST", "/oauth/token", "get an access token", READS, .anonymous = true, .special = true,
     .fields = token_fields},

    {"list_connected_accounts", "GET", ACCOUNTS, "list the connected accounts", READS,
     .items = "connected_accounts", .iterates = "accounts", .fields = list_accounts_fields},
    {"search_connected_accounts", "GET", ACCOUNTS ":search", "search the connected accounts", READS,
     .items = "connected_accounts", .iterates = "search_accounts", .fields = search_accounts_fields},
    {"create_connected_account", "POST", ACCOUNTS, "create the connected account", SETTLES,
     .gives = "connected_account", .inner = "connected_account", .fields = create_account_fields},
    {"update_connected_account", "PUT", ACCOUNTS, "update the connected account", SETTLES, .selects = true,
     .gives = "connected_account", .inner = "connected_account", .fields = update_account_fields},
    {"delete_connected_account", "POST", ACCOUNTS ":delete", "delete the connected account", SETTLES,
     .selects = true, .fields = delete_account_fields},
    {"disconnect_connected_account", "POST", ACCOUNTS "/{id}:disconnect", "disconnect the account", SETTLES,
     .gives = "connected_account", .empty_body = true, .fields = account_id_fields},
    {"get_connected_account_auth", "GET", ACCOUNTS "/auth", "read the account's authorization", READS,
     .selects = true, .gives = "connected_account", .fields = read_account_fields},
    {"get_connected_account_details", "GET", ACCOUNTS "/details", "read the connected account", READS,
     .selects = true, .gives = "connected_account", .fields = read_account_fields},
    {"get_connected_account_by_id", "GET", ACCOUNTS "/{id}", "read the connected account", READS,
     .gives = "connected_account", .fields = account_id_fields},
    {"get_authorization_link", "POST", ACCOUNTS "/magic_link", "make an authorization link", .resend = true,
     SETTLES, .selects = true, .special = true, .fields = link_fields},
    {"verify_connected_account_user", "POST", ACCOUNTS "/user/verify", "verify the user", ACTS,
     .fields = verify_fields},

    {"list_connections", "GET", "/api/v1/connections/app", "list the connections", READS,
     .items = "connections", .iterates = "connections", .fields = list_connections_fields},
    {"get_connection", "GET", "/api/v1/connections/{connection_id}", "read the connection", READS,
     .gives = "connection", .fields = connection_id_fields},
    {"create_connection", "POST", "/api/v1/connections?flags.is_app=true", "create the connection", ACTS,
     .gives = "connection", .fields = create_connection_fields},
    {"update_connection", "PATCH", "/api/v1/connections/{connection_id}", "update the connection", SETTLES,
     .gives = "connection", .fields = update_connection_fields},
    {"delete_connection", "DELETE", "/api/v1/connections/{connection_id}", "delete the connection", SETTLES,
     .fields = connection_id_fields},
    {"enable_connection", "PATCH", "/api/v1/connections/{connection_id}:enable", "enable the connection",
     SETTLES, .fields = connection_id_fields},
    {"disable_connection", "PATCH", "/api/v1/connections/{connection_id}:disable", "disable the connection",
     SETTLES, .fields = connection_id_fields},
    {"list_providers", "GET", "/api/v1/providers", "list the providers", READS, .items = "providers",
     .iterates = "providers", .fields = list_providers_fields},
    {"create_custom_provider", "POST", "/api/v1/custom-providers", "create the provider", ACTS,
     .gives = "provider", .fields = create_provider_fields},
    {"update_custom_provider", "PUT", "/api/v1/custom-providers/{identifier}", "update the provider", SETTLES,
     .gives = "provider", .fields = update_provider_fields},
    {"delete_custom_provider", "DELETE", "/api/v1/custom-providers/{identifier}", "delete the provider",
     SETTLES, .fields = provider_id_fields},

    {"list_tools", "GET", "/api/v1/tools", "list the catalogue of tools", READS, .items = "tools",
     .iterates = "tools", .fields = list_tools_fields},
    {"list_scoped_tools", "GET", "/api/v1/tools/scoped", "list the tools", READS, .items = "tools",
     .iterates = "scoped_tools", .fields = scoped_tools_fields},
    {"list_available_tools", "GET", "/api/v1/tools/available", "list the available tools", READS,
     .items = "tools", .iterates = "available_tools", .fields = available_tools_fields},
    {"execute_tool", "POST", "/api/v1/execute_tool", "run the tool", ACTS, .special = true,
     .total_ms = AH_SKWIRE_TOOL_MS, .fields = execute_fields},
    {"create_tool", "POST", "/api/v1/tools", "create the tool", ACTS, .gives = "tool", .fields = tool_fields},
    {"update_tool", "PUT", "/api/v1/tools", "update the tool", SETTLES, .gives = "tool",
     .fields = tool_fields},
    {"delete_tool", "DELETE", "/api/v1/tools/{id}", "delete the tool", SETTLES, .fields = tool_id_fields},
    {"set_default_tool", "POST", "/api/v1/tools:set_default", "set the tool's default version", SETTLES,
     .gives = "tool", .fields = default_tool_fields},
    {"proxy", "GET", "/proxy", "reach the connected service", ACTS, .special = true, .raw = true,
     .total_ms = AH_SKWIRE_TOOL_MS, .fields = no_fields},

    {"list_mcp_configs", "GET", CONFIGS, "list the MCP configs", READS, .items = "configs",
     .iterates = "mcp_configs", .fields = list_configs_fields},
    {"create_mcp_config", "POST", CONFIGS, "create the MCP config", SETTLES, .gives = "config",
     .fields = create_config_fields},
    {"get_mcp_config", "GET", CONFIGS "/{config_id}", "read the MCP config", READS, .gives = "config",
     .fields = config_id_fields},
    {"update_mcp_config", "PUT", CONFIGS "/{config_id}", "update the MCP config", SETTLES, .gives = "config",
     .fields = update_config_fields},
    {"delete_mcp_config", "DELETE", CONFIGS "/{config_id}", "delete the MCP config", SETTLES,
     .fields = config_id_fields},
    {"list_mcp_connected_accounts", "POST", CONFIGS "/{config_id}/connected_accounts",
     "list the accounts of the MCP config", SETTLES, .gives = "connected_accounts",
     .fields = config_accounts_fields},
    {"create_mcp_session_token", "POST", CONFIGS "/{mcp_config_id}/tokens", "make a session token", SETTLES,
     .secret = "token", .fields = config_token_fields},
    {"ensure_mcp_instance", "POST", INSTANCES, "make sure of the MCP instance", SETTLES, .gives = "instance",
     .fields = ensure_instance_fields},
    {"list_mcp_instances", "GET", INSTANCES, "list the MCP instances", READS, .items = "instances",
     .iterates = "mcp_instances", .fields = list_instances_fields},
    {"get_mcp_instance", "GET", INSTANCES "/{instance_id}", "read the MCP instance", READS,
     .gives = "instance", .fields = instance_id_fields},
    {"update_mcp_instance", "PATCH", INSTANCES "/{instance_id}", "update the MCP instance", SETTLES,
     .gives = "instance", .fields = update_instance_fields},
    {"delete_mcp_instance", "DELETE", INSTANCES "/{instance_id}", "delete the MCP instance", SETTLES,
     .fields = instance_id_fields},
    {"get_mcp_instance_auth_state", "POST", INSTANCES "/{instance_id}:get_auth_state",
     "read the MCP instance's accounts", SETTLES, .gives = "connections", .fields = auth_state_fields},
    {"create_mcp", "POST", "/api/v1/mcp", "create the MCP server", ACTS, .gives = "mcp",
     .fields = create_mcp_fields},
    {"get_mcp", "GET", "/api/v1/mcp/{mcp_id}", "read the MCP server", READS, .gives = "mcp",
     .fields = mcp_id_fields},
    {"list_mcp", "GET", "/api/v1/mcp", "list the MCP servers", READS, .gives = "mcps",
     .fields = list_mcp_fields},
    {"delete_mcp", "DELETE", "/api/v1/mcp/{mcp_id}", "delete the MCP server", SETTLES,
     .fields = mcp_id_fields},

    {"list_tool_calls", "GET", "/api/v1/agentkit/tool_call_logs", "read the tool-call log", READS,
     .items = "tool_call_logs", .iterates = "tool_calls", .fields = log_fields},
    {"get_tool_call", "GET", "/api/v1/agentkit/tool_call_logs/{execution_id}", "read the tool call", READS,
     .fields = execution_id_fields},
    {"get_analytics_overview", "GET", "/api/v1/agentkit/analytics/overview", "read the analytics", READS,
     .fields = overview_fields},
    {"list_events", "POST", "/api/v1/events", "list the events", READS, .items = "events",
     .iterates = "events", .empty_body = true, .fields = events_fields},
    {.name = NULL},
};

const struct ah_skwire_row *ah_skrows_all(void)
{
    return rows;
}
