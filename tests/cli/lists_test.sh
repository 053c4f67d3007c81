#!/bin/sh
# host.langsmith's lists as a script walks over them: several pages of datasets and examples on the emulator, a LangSmith
# that has only the first generation of the read API, and answers that are none: these must not look like an end.
. "$(dirname "$0")/lib.sh"

cat >"$TMP/walk.lua" <<'LUA'
local langsmith, script = require "host.langsmith", require "host.script"
local what, name, limit = table.unpack(script.args())
local queries = { runs = { project = name, filter = 'eq(name, "x")' }, examples = { dataset = name }, datasets = {},
  projects = {} }
local query = queries[what]
query.limit = tonumber(limit)
local n, first, last, seen = 0, nil, nil, {}
local ok, err = pcall(function()
  for item in langsmith[what](query) do
    assert(not seen[item.id], "twice")
    n, seen[item.id], first, last = n + 1, true, first or item, item
  end
end)
print(n .. (ok and "" or " then " .. tostring(type(err) == "table" and err.kind or err)))
if what == "examples" and first then print(first.inputs.n, last.inputs.n, last.outputs.m) end
if what == "runs" and first then print(first.name, last.run_type) end
if not ok then io.stderr:write(tostring(err), "\n") end
LUA

begin "examples and datasets over several pages"
start_emulator
use_emulator
post() { curl -s -H "x-api-key: $LANGSMITH_API_KEY" -H 'content-type: application/json' -d "$2" "$LANGSMITH_ENDPOINT/$1"; }
id=$(post datasets '{"name":"mails & more","data_type":"kv"}' | python3 -c 'import json,sys; print(json.load(sys.stdin)["id"])')
post examples/bulk "$(python3 -c 'import json,sys
print(json.dumps([{"dataset_id": sys.argv[1], "inputs": {"n": i}, "outputs": {"m": -i}} for i in range(1, 206)]))' "$id")" >/dev/null
for i in $(seq 1 100); do post datasets "{\"name\":\"d$i\",\"data_type\":\"kv\"}"; done >/dev/null
run run -q "$TMP/walk.lua" examples "mails & more"
is "by name" "$(cat out)" "205
1	205	-205"
run run -q "$TMP/walk.lua" examples "$id" 150
is "by id, with a limit" "$(cat out)" "150
1	150	-150"
run run -q "$TMP/walk.lua" datasets
is "datasets" "$(cat out)" 101
run run -q "$TMP/walk.lua" examples "d7"
is "none" "$(cat out)" 0
run run -q "$TMP/walk.lua" examples "nothing of that name"
is "no such dataset" "$(cat out)" "0 then not_found"
end_children

# A LangSmith that says what the first part of the path asks for.
cat >"$TMP/far.py" <<'PY'
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
ID = "01a202b2-c500-7a1b-8a1b-%012d"


class Far(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, body):
        text = body if isinstance(body, str) else json.dumps(body)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self):
        mode, path = self.path[1:].split("/", 1)
        if path.startswith("sessions?name"):
            return self.reply(200, [{"id": ID % 0, "name": "p"}])
        if mode == "html":
            return self.reply(200, "<html>hello</html>")
        if mode == "object":
            return self.reply(200, {"detail": "not here"})
        self.reply(404, {"detail": "Not Found"})

    def do_POST(self):
        mode, path = self.path[1:].split("/", 1)
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        cursor = asked.get("cursor")
        runs = [{"id": ID % n, "name": "v1", "run_type": "tool"} for n in ((3,) if cursor else (1, 2))]
        v2 = "v2/" in path
        if mode == "v1" and not v2:
            fine = asked["session"] == [ID % 0] and asked["filter"] == 'eq(name, "x")'
            return self.reply(200 if fine else 400, {"runs": runs, "cursors": {"next": None if cursor else "c2"}})
        if mode == "late" and v2 and not cursor:
            return self.reply(200, {"items": runs, "next_cursor": "c2", "has_more": True})
        if mode == "loop" and v2:
            return self.reply(200, {"items": runs if not cursor else [], "next_cursor": "same", "has_more": True})
        if mode == "none" and v2:
            return self.reply(200, {"has_more": False})
        self.reply(404, {"detail": "Not Found"})


server = ThreadingHTTPServer(("127.0.0.1", 0), Far)
print("listening", server.server_port, flush=True)
server.serve_forever()
PY

# walk MODE WHAT WANTED: against the far end in that mode.
walk() {
  LANGSMITH_API_KEY=lsv2_pt_lists_test LANGSMITH_ENDPOINT=http://127.0.0.1:$PORT/$1 run run -q "$TMP/walk.lua" "$2" p
  is "$1 $2" "$(head -n 1 out)" "$3"
}
begin "runs from the first generation, where there is no second"
start_helper python3 "$TMP/far.py"
walk v1 runs 3
is "the fields" "$(sed -n 2p out)" "v1	tool"

begin "answers that are none are an error, not an end"
walk late runs "2 then not_found"
walk loop runs "2 then protocol"
walk none runs "0 then protocol"
walk object projects "0 then protocol"
walk object datasets "0 then protocol"
walk object examples "0 then protocol"
want_err "LangSmith's answer is no list"
walk html projects "0 then protocol"
walk none projects "0 then not_found"
done_testing
