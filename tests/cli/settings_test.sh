#!/bin/sh
# Settings as a user gets them wrong: missing, half set, misspelt .env files; and which source wins.
. "$(dirname "$0")/lib.sh"

model_script() {
  cat >model.lua <<'LUA'
local openai = require "host.openai"
local answer = assert(openai.chat_model { model = "gpt-4o" }:invoke { { role = "user", content = "hello" } })
print(answer.content)
LUA
}
account_script() {
  cat >account.lua <<'LUA'
local scalekit = require "host.scalekit"
local account = assert(scalekit.get_or_create_connected_account { connection_name = "gmail", identifier = "u" })
print(account.status)
LUA
}

# --- missing, half set ------------------------------------------------------------------------------------------

begin "no model key: its name, where it was looked for, --emulate; exit 3; the answer is nowhere"
model_script
run run model.lua
want_code 3
empty_out
want_err "OPENAI_API_KEY"
want_err "environment"
want_err ".env"
want_err "--emulate"

begin "no Scalekit settings: all three names, exit 3"
account_script
run run account.lua
want_code 3
empty_out
want_err "SCALEKIT_CLIENT_ID"
want_err "SCALEKIT_CLIENT_SECRET"
want_err "SCALEKIT_ENVIRONMENT_URL"
want_err "--emulate"

half() { # what is missing, then what is set
  begin "half of Scalekit's settings: $1 is missing"
  missing=$1
  shift
  account_script
  with "$@" -- run account.lua
  want_code 3
  want_err "$missing"
  with "$@" -- doctor
  want_code 3
  want_out "$missing"
}
half SCALEKIT_CLIENT_SECRET SCALEKIT_CLIENT_ID=skc_1 SCALEKIT_ENVIRONMENT_URL=http://127.0.0.1:1
half SCALEKIT_CLIENT_ID SCALEKIT_CLIENT_SECRET=LEAK_secret_1 SCALEKIT_ENVIRONMENT_URL=http://127.0.0.1:1
half SCALEKIT_ENVIRONMENT_URL SCALEKIT_CLIENT_ID=skc_1 SCALEKIT_CLIENT_SECRET=LEAK_secret_1

begin "the other spelling, SCALEKIT_ENV_URL, is taken"
account_script
with SCALEKIT_CLIENT_ID=skc_1 SCALEKIT_CLIENT_SECRET=LEAK_secret_1 SCALEKIT_ENV_URL=http://127.0.0.1:1 -- run account.lua
want_code 4
want_err "127.0.0.1"

begin "LITELLM_BASE_URL without LITELLM_API_KEY names the other, and the other way round"
model_script
with LITELLM_BASE_URL=http://127.0.0.1:1/v1 -- run model.lua
want_code 3
want_err "LITELLM_API_KEY"
with LITELLM_API_KEY=LEAK_litellm -- run model.lua
want_code 3
want_err "LITELLM_BASE_URL"

for url in "not a url" "ftp://example.com" "http://api.openai.com/v1" "https://" "https://user:LEAKpass@example.com"; do
  begin "OPENAI_BASE_URL='$url' is refused before anything is sent"
  model_script
  with OPENAI_API_KEY=sk-LEAK-1234567890 OPENAI_BASE_URL="$url" -- run model.lua
  want_code 3
  empty_out
  want_err "OPENAI_BASE_URL"
  account_script
  with SCALEKIT_CLIENT_ID=skc_1 SCALEKIT_CLIENT_SECRET=LEAK_secret_1 SCALEKIT_ENVIRONMENT_URL="$url" -- run account.lua
  want_code 3
  empty_out
  want_err "SCALEKIT_ENVIRONMENT_URL"
done

begin "a key with a line break in it is refused; it is not shown"
model_script
with OPENAI_API_KEY="sk-LEAK-123456
x: y" OPENAI_BASE_URL=http://127.0.0.1:1/v1 -- run model.lua
want_code 3
want_err "OPENAI_API_KEY"

begin "a connector without an identifier is no silent default"
cat >who.lua <<'LUA'
return require "agent" { connectors = { "gmail" }, input = "hello" }
LUA
run run --emulate who.lua
want_code 3
want_err "--user"
want_err "AGENTHOST_USER"
with AGENTHOST_USER=user_1 -- run --emulate who.lua
want_code 0

# --- .env --------------------------------------------------------------------------------------------------------

bad_env() { # name, line, text
  begin ".env: $1: the file and line $2, exit 3, nothing runs"
  echo 'print "ran"' >x.lua
  printf "$3" >.env
  chmod 600 .env
  run run x.lua
  want_code 3
  empty_out
  want_err ".env"
  want_err "$2"
  one_line_err
}
bad_env "a quote that never ends" "line 2" 'A=1\nOPENAI_API_KEY="sk-LEAK-1234567890\nB=2\n'
bad_env "a name with a space" "line 3" 'A=1\n\nMY NAME=sk-LEAK-1234567890\n'
bad_env "a line without =" "line 1" 'sk-LEAK-1234567890\n'
bad_env "a name that begins with a digit" "line 2" '# x\n1A=LEAK12345\n'

begin "--env FILE that is not there: exit 3, its name"
echo 'print "ran"' >x.lua
run run --env nosuch.env x.lua
want_code 3
empty_out
want_err "nosuch.env"

begin "--env a folder; a file of 2 MB; a file with a NUL: exit 3"
echo 'print "ran"' >x.lua
mkdir folder.env
run run --env folder.env x.lua
want_code 3
empty_out
head -c 2097152 /dev/zero | tr '\0' 'a' >big.env
run run --env big.env x.lua
want_code 3
empty_out
printf 'A=1\000B\n' >nul.env
run run --env nul.env x.lua
want_code 3
empty_out

begin "a .env that others can read is used, and warned about once"
echo 'print(require "host".config "MY_NAME")' >x.lua
echo 'MY_NAME=from_file' >.env
chmod 644 .env
run run x.lua
want_code 0
want_out "from_file"
once_err "chmod 600"

# --- which source wins ---------------------------------------------------------------------------------------------

begin "flag > environment > .env beside the script > .env of the working folder"
mkdir agent
cat >agent/x.lua <<'LUA'
local host = require "host"
for _, name in ipairs { "LANGSMITH_PROJECT", "IN_BOTH", "IN_WORKING", "IN_ALL" } do print(name .. "=" .. tostring(host.config(name))) end
LUA
printf 'LANGSMITH_PROJECT=script\nIN_BOTH=script\nIN_ALL=script\n' >agent/.env
printf 'LANGSMITH_PROJECT=working\nIN_BOTH=working\nIN_WORKING=working\nIN_ALL=working\n' >.env
chmod 600 .env agent/.env
with IN_ALL=environment -- run agent/x.lua
want_code 0
want_out "LANGSMITH_PROJECT=script"
want_out "IN_BOTH=script"
want_out "IN_WORKING=working"
want_out "IN_ALL=environment"
with LANGSMITH_PROJECT=environment -- run agent/x.lua
want_out "LANGSMITH_PROJECT=environment"
with LANGSMITH_PROJECT=environment -- run --project flag agent/x.lua
want_out "LANGSMITH_PROJECT=flag"
printf 'IN_BOTH=named\n' >named.env
chmod 600 named.env
run run --env named.env agent/x.lua
want_out "IN_BOTH=named"
want_out "IN_WORKING=nil"

begin "a blank variable of the environment unsets what .env says"
echo 'print(tostring(require "host".config "A_NAME"))' >x.lua
echo 'A_NAME=file' >.env
chmod 600 .env
with A_NAME= -- run x.lua
want_out "nil"

begin "the .env of the recipe, as in its own text, works: quotes, comments, export, no end of line"
start_emulator
sed -n 's/^export //p' "$TMP/emulator.out" >settings
{
  echo "# Scalekit"
  sed -n '/SCALEKIT/p' settings
  echo
  sed -n '/OPENAI_API_KEY/s/.*/export &   # the model/p' settings
  sed -n "/OPENAI_BASE_URL/s/'/\"/gp" settings
  echo "LANGCHAIN_TRACING_V2=true"
  sed -n "/LANGSMITH_ENDPOINT/s/LANGSMITH/LANGCHAIN/p" settings
  sed -n "/LANGSMITH_API_KEY/s/LANGSMITH/LANGCHAIN/p" settings | tr -d '\n'
} >.env
chmod 600 .env
SECRETS=$(sed -n "s/^export .*\(KEY\|SECRET\)='\(.*\)'/\2/p" "$TMP/emulator.out")
run run "$ROOT/examples/gmail_digest.lua"
want_code 0
want_out "unread emails"
is "ended runs at the far end" "$(state 'v["runs"]["ended"]')" 4

done_testing
