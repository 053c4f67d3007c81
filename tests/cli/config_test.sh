#!/bin/sh
# agenthost config explain: each setting, its value, where that came from; never a secret.
. "$(dirname "$0")/lib.sh"

row() { grep "^$1 " out; }
row_is() { is "$1" "$(row "$1" | sed 's/  */ /g')" "$1 $2"; }

begin "nothing set: defaults, and what that means"
run config explain
want_code 0
row_is OPENAI_BASE_URL "not set (https://api.openai.com/v1)"
row_is SCALEKIT_CLIENT_ID "not set"
want_out "connectors cannot be used"
want_out "traces     stay on this machine"
want_out "journal    $PWD/home"
check "no journal was made" test ! -e home/journal.db

begin "a file and its line, the environment over it, a blank value, the command line; no secret is shown"
cat >.env <<'ENV'
# settings
OPENAI_API_KEY=LEAKsk-1234567890
OPENAI_BASE_URL=https://me:LEAKpass@models.example/v1

export LANGSMITH_PROJECT="from the file"
LANGSMITH_API_KYE=LEAKlsv2-123456789
LANGSMITH_RUNS_ENDPOINTS={"https://a.example":"LEAKrunskey"}
https_proxy=http://u:LEAKproxy@127.0.0.1:1
AGENTHOST_USER=file_user
ENV
chmod 600 .env
with LANGSMITH_PROJECT=elsewhere OPENAI_ORG_ID= SCALEKIT_CLIENT_SECRET=LEAKskcs-12345 -- config explain
want_code 0
row_is OPENAI_API_KEY "set, from .env line 2"
row_is OPENAI_BASE_URL "https://models.example/v1, from .env line 3"
row_is LANGSMITH_PROJECT "elsewhere, from the environment; wins over .env line 5"
row_is OPENAI_ORG_ID "blank, from the environment"
row_is SCALEKIT_CLIENT_SECRET "set, from the environment"
row_is AGENTHOST_USER "file_user, from .env line 9"
row_is LANGSMITH_API_KYE "set, from .env line 6; not read: it looks like LANGSMITH_API_KEY"
row_is LANGSMITH_RUNS_ENDPOINTS "set, from .env line 7"
want_out "models     "
run config explain --user flag_user --project flagged
row_is AGENTHOST_USER "flag_user, from the command line; wins over .env line 9"
row_is LANGSMITH_PROJECT "flagged, from the command line; wins over .env line 5"
run config explain --env /dev/null
row_is AGENTHOST_USER "not set"

begin "of two lines of one file the last counts; real keys are not read while emulating"
printf 'OPENAI_API_KEY=LEAKone-1234\nOPENAI_API_KEY=LEAKtwo-1234\n' >.env
chmod 600 .env
run config explain OPENAI_API_KEY
want_code 0
row_is OPENAI_API_KEY "set, from .env line 2"
want_out "the key of models"
run config explain OPENAI_API_KEY --emulate
row_is OPENAI_API_KEY "set, from the emulator; wins over .env line 2"
with OPENAI_ORG_ID=org-1 -- config explain OPENAI_ORG_ID --emulate
row_is OPENAI_ORG_ID "not set; not read while emulating: the environment"

begin "one name; an unknown one; JSON lines"
run config explain OPENAI_API_KYE
want_code 2
empty_out
want_err "did you mean 'OPENAI_API_KEY'"
run config explain XYZZY
want_code 2
run config
want_code 2
printf 'LANGSMITH_TRACNG=true\nOPENAI_API_KEY=LEAKone-1234\n' >.env
chmod 600 .env
run config explain --json
want_code 0
check "lines of JSON" python3 -m json.tool --json-lines out
is "of one" "$(grep '"OPENAI_API_KEY"' out | python3 -c 'import json, sys; v = json.load(sys.stdin); print(v["set"], v["file"], v["line"], v["source"], "value" in v)')" \
  "True .env 2 file False"
is "near" "$(grep '"LANGSMITH_TRACNG"' out | python3 -c 'import json, sys; print(json.load(sys.stdin)["looks_like"])')" LANGSMITH_TRACING
run config explain OPENAI_BASE_URL --json
valid_json
is "default" "$(member 'v["default"], v["set"]')" "('https://api.openai.com/v1', False)"

begin "what is told of is what the program reads"
run completion --words setting
cp out told
cat >compare.py <<'PY'
import glob, re, sys
words = r'"((?:AGENTHOST|SCALEKIT|OPENAI|LITELLM|LANGSMITH|LANGCHAIN)_[A-Z0-9_]*[A-Z0-9]|[A-Za-z]+_(?:proxy|PROXY)|SSL_CERT_FILE)"'
not_settings = {"AGENTHOST_FAULT", "AGENTHOST_FAULT_CLOCK",  # of test builds
                "SCALEKIT_ACCESS_TOKEN",                     # the name of a secret
                "HTTP_PROXY"}                                # only warned of: see http.c
read = set()
for path in glob.glob(sys.argv[1] + "/src/*.c"):
    if path.endswith("cmd_config.c"):
        continue
    text = re.sub(r"/\*.*?\*/", "", open(path).read(), flags=re.S)
    read |= set(re.findall(words, text))
    if path.endswith("/tracing.c"):  # LANGSMITH_<name>, else LANGCHAIN_<name>
        names = re.findall(r'(?:read_either|hides)\(t, "([A-Z_]+)"', text)
        read |= {first + name for name in names for first in ("LANGSMITH_", "LANGCHAIN_")}
told = set(open("told").read().split())
print("\n".join(["read, not told of: " + name for name in sorted(read - told - not_settings)]
                + ["told of, not read: " + name for name in sorted(told - read)]) or "alike")
PY
is "the table of cmd_config.c" "$(python3 compare.py "$ROOT")" alike
printf 'LANGCHAIN_RUNS_ENDPOINTS=[{"api_url":"https://x.example","api_key":"LEAKkey-12345"}]\nLANGSMITH_SESSION=s\n' >.env
chmod 600 .env
with HTTPS_PROXY=http://LEAKname:LEAKpass@127.0.0.1:1 -- config explain
row_is LANGCHAIN_RUNS_ENDPOINTS "set, from .env line 1"
row_is LANGSMITH_SESSION "s, from .env line 2"
row_is HTTPS_PROXY "http://127.0.0.1:1, from the environment"
not_out LANGCHAIN_SESSION

begin "other programs' variables are nobody's misspelling, nor are names that LangSmith has and agenthost does not read"
with LANGUAGE=en LANGSMITH_TENANT_ID=t LANGSMITH_PROFILE=p OPENAI_MODEL=x HTTPS_PROX=y HTTP_PROXY=http://127.0.0.1:1 SSL_CERT_DIR=/x PYTHONPATH=/y -- config explain
want_code 0
not_out "looks like"

done_testing
