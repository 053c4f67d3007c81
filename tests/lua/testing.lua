-- The harness of the Lua tests: TAP on stdout, exit code 1 when a test failed. Each file of tests/lua is run
-- by the program itself and ends with t.done().

local M = {}

local count, failed = 0, {}

local function show(v, depth)
  if type(v) == "string" then return ("%q"):format(v):gsub("\\\n", "\\n") .. "" end
  if type(v) ~= "table" or (depth or 0) > 4 then return tostring(v) end
  local keys, out = {}, {}
  for k in pairs(v) do keys[#keys + 1] = k end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  for _, k in ipairs(keys) do out[#out + 1] = tostring(k) .. "=" .. show(v[k], (depth or 0) + 1) end
  return "{" .. table.concat(out, ", ") .. "}"
end

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then
    return a == b and math.type(a) == math.type(b)
  end
  for k, v in pairs(a) do if not same(v, b[k]) then return false end end
  for k in pairs(b) do if a[k] == nil then return false end end
  return true
end

local function fail(message, level)
  error({ test_failure = message, where = debug.getinfo(level or 3, "Sl") }, 0)
end

-- Runs one test. A failure is reported and the file goes on.
function M.test(name, fn)
  count = count + 1
  local ok, err = xpcall(fn, function(e)
    if type(e) == "table" and e.test_failure then return e end
    return { test_failure = debug.traceback(tostring(e), 2) }
  end)
  if ok then
    print(("ok %d - %s"):format(count, name))
    return
  end
  failed[#failed + 1] = name
  print(("not ok %d - %s"):format(count, name))
  local where = err.where and ("%s:%d: "):format(err.where.short_src, err.where.currentline) or ""
  print("# " .. (where .. err.test_failure):gsub("\n", "\n# "))
end

-- Deep equality; integers and floats are different.
function M.eq(got, want, what)
  if not same(got, want) then
    fail(("%sgot %s, expected %s"):format(what and what .. ": " or "", show(got), show(want)))
  end
end

function M.ok(v, message)
  if not v then fail(message or "expected something true, got " .. show(v)) end
  return v
end

-- fn(...) must raise; the message (tostring of the error) must match the Lua pattern. Answers the error.
function M.raises(pattern, fn, ...)
  local ok, err = pcall(fn, ...)
  if ok then fail("expected an error that matches " .. show(pattern)) end
  if not tostring(err):find(pattern) then
    fail(("the error %s does not match %s"):format(show(tostring(err)), show(pattern)))
  end
  return err
end

function M.match(s, pattern)
  if type(s) ~= "string" or not s:find(pattern) then fail(("%s does not match %s"):format(show(s), show(pattern))) end
  return s
end

-- The two results of a call that must have failed with that kind. Answers the error.
function M.err(kind, v, err)
  if v ~= nil and v ~= false then fail("expected a failure, got " .. show(v)) end
  if type(err) ~= "table" or err.kind ~= kind then
    fail(("expected an error of kind %s, got %s"):format(show(kind), show(err)))
  end
  return err
end

-- Runs fn only where the condition holds; else the test is reported as skipped, with the reason.
function M.skip(name, reason)
  count = count + 1
  print(("ok %d - %s # SKIP %s"):format(count, name, reason))
end

function M.done()
  print(("1..%d"):format(count))
  if #failed > 0 then
    io.stderr:write(("%d of %d tests failed: %s\n"):format(#failed, count, table.concat(failed, ", ")))
    os.exit(1)
  end
end

return M
