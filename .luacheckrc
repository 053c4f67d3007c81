-- luacheck . must be clean. No globals anywhere, but tests may stand in for print and io.
std = "lua54"
max_line_length = 120
files["tests"].globals = { "print", "io" }
-- Stubs declare functions that have no body, and modules that nobody returns twice.
files["scripts/meta"].ignore = { "211", "212", "241" }
exclude_files = { "build*", "node_modules" }
