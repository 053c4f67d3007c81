-- Of agent_users_test.lua: cid has not authorized.
return {
  accounts = {
    { connector = "gmail", identifier = "ann", status = "ACTIVE" },
    { connector = "gmail", identifier = "bob", status = "ACTIVE" },
    { connector = "gmail", identifier = "cid", status = "PENDING_AUTH" },
  },
}
