#!/usr/bin/env python3
# Proves from the C sources what CONTRIBUTING says of them: layers, foreign headers, names, no process-wide state.
# Called by tests/check/layers_test.sh, which also plants a violation of each rule; by hand for a quick answer:
#   tests/check/layers.py [--root DIR] [--archive FILE.a]
# Prints "file:line: rule: what" and ends with 1 when a rule is broken. Changes nothing.
#
# The text is read as clang-format leaves it (a definition begins in the first column), so run tests/check/format first.
import argparse
import os
import re
import subprocess
import sys

# Files by layer. A new file in src/ must be placed here; a name ending with * takes all that begin so.
LAYERS = [
    "err buf log clock ids secret near limits hash version fault shapes",
    "json sse url multipart unpack dotenv options completion proxy schema strict baggage spantext",
    "op loop child http server store store_* openspan queue live replay trace trace_* config core scripts tracing tty",
    "openai oa* provider responses ratelimit chat chat_* scalekit sk* langsmith ls* tree mcp*",
    "luax luahttp luajson lualossy luapool luanotes luareplay luasecret luatext task script_run",
    "lua_*",
    "host sandbox runner recipe ext",
    "main cmd cmd_*",
]
# Services do not know each other.
SERVICES = ["openai oa* provider responses chat chat_*", "scalekit sk*", "langsmith ls*", "mcp*"]
FOREIGN = {  # another library's header: who may include it
    r"curl/.*": "http",
    r"uv\.h": "loop",
    r"microhttpd\.h": "server",
    r"sqlite3\.h": "store store_*",
    r"xxhash\.h": "hash",
    r"openssl/.*": "hash",
    r"zstd\.h|zlib\.h": "lspack unpack",
    r"lua-cjson\.h": "luajson sandbox",
}
PRIVATE = {  # our own headers that only the files of one unit share
    "store_sql": "store store_*",
    "trace_put": "trace trace_*",
    "lssend_batch": "lssend lssend_*",
    "mcp_call": "mcp mcp_*",
}
LUA_HEADERS = r"(lua|lauxlib|lualib)\.h"
LUA_LAYER = 4
TASK_ONLY = "lua_resume lua_yield lua_yieldk luaL_ref luaL_unref lua_resetthread lua_closethread"
PURE_LAYER = 1  # formats: no I/O, no clock, no threads
IMPURE = r"(unistd|fcntl|time|pthread|signal|poll|netdb|dirent|sys/.*|netinet/.*)\.h"
# A public name begins with ah_<file>_, and Lua's openers with luaopen_host. Other nouns of a file's own header:
NOUNS = {
    "chat_request": "ah_chat_names",
    "cmd_trace": "ah_cmd_verify",
    "oatarget": "ah_oaheaders",
    "loop": "ah_timer ah_watch",
    "main": "ah_cmd",
    "cmd_run": "ah_cmd_script",
    "scripts": "ah_script_file",
    "replay": "ah_call",
    "server": "ah_exchange",
    **{f"store_{half}": "ah_store" for half in "open checkpoint memory read send recover gc effect session".split()},
    "store_sql": "ah_sql",
    **{f"lssend_{half}": "ah_lssend" for half in "batch dest body post verdict read".split()},
    "task": "ah_tasks",
    "trace": "ah_run",
    **{f"trace_{half}": "ah_trace ah_run ah_span ah_effect" for half in "put send span event effect".split()},
}

PUBLIC_NAMES = r"ah_(host|ext)(_|$)"  # of include/agenthost

found = []


def report(rule, path, line, what):
    found.append(f"{path}:{line}: {rule}: {what}")


def matches(unit, patterns):
    return any(unit == p or (p.endswith("*") and unit.startswith(p[:-1])) for p in patterns.split())


def layer_of(unit):
    return next((n for n, names in enumerate(LAYERS) if matches(unit, names)), None)


def family_of(unit):
    return next((names for names in SERVICES if matches(unit, names)), None)


def blank(match):
    return re.sub(r"[^\n]", " ", match.group(0))


def code_of(text):
    """The text without comments and the insides of strings; lines stay where they were."""
    pattern = r'^#\s*include[^\n]*|/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\''
    return re.sub(pattern, lambda m: m.group(0) if m.group(0)[0] == "#" else blank(m), text, flags=re.S | re.M)


def line_of(text, at):
    return text.count("\n", 0, at) + 1


class Source:
    def __init__(self, root, name):
        self.path = f"src/{name}"
        self.unit = re.sub(r"\.[ch](\.in)?$", "", name)
        self.is_c = name.endswith(".c")
        with open(os.path.join(root, self.path), encoding="utf-8") as f:
            self.text = f.read()
        self.code = code_of(self.text)
        self.layer = layer_of(self.unit)

    def includes(self):
        for m in re.finditer(r'^#\s*include\s+([<"])([^>"]+)[>"]', self.code, re.M):
            yield line_of(self.code, m.start()), m.group(1) == '"', m.group(2)

    def functions(self):
        """(line, static, name, parameters) of each definition."""
        for m in re.finditer(r"^([a-z][^\n;={}#]*?)\b(\w+)\(([^;{}]*?)\)\n\{", self.code, re.M):
            yield line_of(self.code, m.start(2)), "static" in m.group(1).split(), m.group(2), " ".join(m.group(3).split())


def check_includes(s, units):
    for line, own, name in s.includes():
        if own and name.endswith(".h"):
            other = re.sub(r"\.h$", "", name)
            if other not in units:
                continue
            layer = layer_of(other)
            if None not in (layer, s.layer) and layer > s.layer:
                report("layer", s.path, line, f"{s.unit} (layer {s.layer}) includes {name} (layer {layer})")
            if not matches(s.unit, PRIVATE.get(other, "*")):
                report("foreign", s.path, line, f"{name} is for {PRIVATE[other]}")
            mine, theirs = family_of(s.unit), family_of(other)
            if mine and theirs and mine != theirs:
                report("service", s.path, line, f"{s.unit} includes {name}: services do not know each other")
        else:
            for pattern, allowed in FOREIGN.items():
                if re.fullmatch(pattern, name) and not matches(s.unit, allowed):
                    report("foreign", s.path, line, f"<{name}> is for {allowed}")
            if re.fullmatch(LUA_HEADERS, name) and s.layer is not None and s.layer < LUA_LAYER:
                report("lua-header", s.path, line, f"<{name}> below layer {LUA_LAYER}")
            if s.layer == PURE_LAYER and re.fullmatch(IMPURE, name):
                report("pure", s.path, line, f"<{name}> in a format: no I/O, no clock")


def check_cycles(headers):
    graph = {}
    for s in headers:
        edges = graph.setdefault(s.unit, {})
        for line, own, name in s.includes():
            other = re.sub(r"\.h$", "", name)
            if own and other != s.unit:
                edges.setdefault(other, (s.path, line))
    state = {}

    def visit(unit, trail):
        state[unit] = "open"
        for other, (path, line) in sorted(graph.get(unit, {}).items()):
            if state.get(other) == "open":
                report("cycle", path, line, " → ".join(trail[trail.index(other):] + [other]))
            elif other not in state:
                visit(other, trail + [other])
        state[unit] = "done"

    for unit in sorted(graph):
        if unit not in state:
            visit(unit, [unit])


def check_lua_calls(s):
    if s.unit == "task":
        return
    for m in re.finditer(r"\b(" + "|".join(TASK_ONLY.split()) + r")\s*\(", s.code):
        report("task-only", s.path, line_of(s.code, m.start()), f"{m.group(1)} is for task.c")


def check_names(s):
    if not s.is_c:
        return
    functions = list(s.functions())
    own = {name for _, _, name, _ in functions}
    for line, static, name, parameters in functions:
        nouns = [f"ah_{s.unit}"] + NOUNS.get(s.unit, "").split()
        if s.unit.startswith("lua_"):
            nouns.append("luaopen_host")
        if not static and name != "main" and not any(name == n or name.startswith(n + "_") for n in nouns):
            report("name-public", s.path, line, f"{name} is not {nouns[0]}_…")
        if not static:
            continue
        if name.startswith("ah_"):
            report("name-static", s.path, line, f"{name} is of this file only: verb first, no ah_")
        if re.fullmatch(r"lua_State \*L, int \w+, lua_KContext \w+", parameters) and not name.startswith("k_"):
            report("name-lua", s.path, line, f"{name} is a continuation: k_{name}")
        if re.match(r"[lm]_", name) and parameters != "lua_State *L":
            report("name-lua", s.path, line, f"{name} is not called by Lua")
    # What is handed to Lua as a function: an entry of a luaL_Reg table, a closure.
    lua_entry = r'\{\s*"([^"]*)"\s*,\s*(\w+)\s*\}'
    for table in re.finditer(r"\bluaL_Reg\s+\w+\[\]\s*=\s*\{(.*?)\n?\};", s.text, re.S):
        for m in re.finditer(lua_entry, table.group(1)):
            field, name = m.groups()
            want = "m_" if field.startswith("__") else "l_"
            shared = name.startswith("m_") and name.endswith("_" + field)  # one function, "close" and "__close"
            if name in own and not name.startswith(want) and not shared:
                report("name-lua", s.path, line_of(s.text, table.start(1) + m.start()), f"{name} is {field}: {want}…")
    for m in re.finditer(r"\blua_pushcclosure\(L, (\w+),", s.code):
        if m.group(1) in own and not re.match(r"[lmk]_", m.group(1)):
            report("name-lua", s.path, line_of(s.code, m.start()), f"{m.group(1)} is called by Lua: l_…")
    # What is handed to another library as a callback.
    for m in re.finditer(r"\b(curl|uv|MHD|sqlite3)_\w+\(([^;]*?)\);", s.code, re.S):
        for name in re.findall(r"[(,]\s*(?:\([\w *]+\)\s*)?&?(\w+)\s*(?=[,)])", "(" + m.group(2) + ")"):
            if name in own and not name.startswith("on_"):
                report("name-callback", s.path, line_of(s.code, m.start()), f"{name} is called by a library: on_…")


def check_reg_last(s):
    tables = [m.start() for m in re.finditer(r"^static const luaL_Reg\b|^static const struct luaL_Reg\b", s.code, re.M)]
    if not s.is_c or not tables:
        return
    first = line_of(s.code, tables[0])
    for line, _, name, _ in s.functions():
        if line > first and re.match(r"[lkm]_", name):
            report("reg-last", s.path, line, f"{name} stands after the luaL_Reg table (line {first})")


def check_public(root):
    """What other programs include: our own names only, and nothing of ours that is not public."""
    folder = os.path.join(root, "include/agenthost")
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        path = f"include/agenthost/{name}"
        with open(os.path.join(folder, name), encoding="utf-8") as f:
            text = f.read()
        code = code_of(text)
        for m in re.finditer(r'^#\s*include\s+([<"])([^>"]+)[>"]', code, re.M):
            if m.group(1) == '"' or not re.fullmatch(r"agenthost/\w+\.h|std\w+\.h|lua\.h|lauxlib\.h", m.group(2)):
                report("public", path, line_of(code, m.start()), f"{m.group(2)} is not for other programs to have")
        for m in re.finditer(r"^AH_PUBLIC [^;]*?\b(\w+)\(", code, re.M):
            if not re.match(PUBLIC_NAMES, m.group(1)):
                report("public", path, line_of(code, m.start(1)), f"{m.group(1)} is not ah_host_… or ah_ext_…")
        for m in re.finditer(r"^(?:struct|enum) (\w+) \{", code, re.M):
            if not re.match(PUBLIC_NAMES, m.group(1)):
                report("public", path, line_of(code, m.start(1)), f"{m.group(1)} is not ah_host_… or ah_ext_…")
        for m in re.finditer(r"^#\s*define\s+(\w+)|^\s+(AH\w*)(?= =|,)", code, re.M):
            word = m.group(1) or m.group(2)
            if not re.match(r"AGENTHOST_|AH_PUBLIC$|AH_HOST_|AH_EXT_", word):
                report("public", path, line_of(code, m.start()), f"{word} is not AH_HOST_… or AH_EXT_…")
        if re.search(r"^(?!AH_PUBLIC|typedef|struct|enum|#|\s|/|\}|extern).*\b(ah_\w+)\(", code, re.M):
            report("public", path, 1, "a function without AH_PUBLIC")


def check_archive(archive):
    """No writable data: the objects know better than the text (a static in a function, a table that is not const)."""
    listing = subprocess.run(["objdump", "-t", archive], check=True, capture_output=True, text=True).stdout
    unit = "?"
    for row in listing.splitlines():
        head = re.match(r"(\S+?)\.(c|S)\.o(bj)?:|(\S+)\.o:", row)
        if head:
            unit = head.group(1) or head.group(4)
        symbol = re.match(r"[0-9a-f]+ .{7} (\S+)\s+([0-9a-f]+)\s+(?:\.hidden )?(.*)$", row)
        if not symbol:
            continue
        section, size, name = symbol.groups()
        if re.match(r"\.data\.rel\.ro|\.data\.DW", section) or int(size, 16) == 0 or re.match(r"__|\.L|\.\.", name):
            continue
        if re.match(r"\.(data|bss|tdata|tbss)\b|\*COM\*", section) and unit not in ("main", "embedded", "fault"):
            report("state", f"src/{unit}.c", 1, f"{name} is writable ({section}): no process-wide state outside main.c")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
    parser.add_argument("--archive", help="libagenthost_core.a, to look for writable data")
    options = parser.parse_args()
    names = sorted(n for n in os.listdir(os.path.join(options.root, "src")) if re.search(r"\.[ch](\.in)?$", n))
    sources = [Source(options.root, n) for n in names]
    units = {s.unit for s in sources}
    for s in sources:
        if s.layer is None:
            report("placed", s.path, 1, "in no layer: add it to LAYERS in tests/check/layers.py")
        check_includes(s, units)
        check_lua_calls(s)
        check_names(s)
        check_reg_last(s)
    check_public(options.root)
    check_cycles([s for s in sources if not s.is_c])
    if options.archive:
        check_archive(options.archive)
    print("\n".join(found) if found else f"layers: {len(sources)} files are as they should be")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
