-- luacheck . must be clean. No globals anywhere, but tests may stand in for print and io.
std = "lua54"
max_line_length = 120
files["tests"].globals = { "print", "io" }
files["tests"].max_line_length = 140
files["tests"].ignore = { "512" } -- a loop that is left in its first turn: that is what such a test is about
-- Stubs declare functions without bodies, types on long lines, and parameters of the name of the module.
files["scripts/meta"].ignore = { "211", "212", "241", "431", "631" }
exclude_files = { "build*", "node_modules", "tests/fixtures/check" } -- the last: made with mistakes
