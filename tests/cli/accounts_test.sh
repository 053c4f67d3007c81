#!/bin/sh
# auth ls, verify and revoke; tools show and call, with the connection named before the tool. Against the emulator.
. "$(dirname "$0")/lib.sh"

begin "auth ls: of one user, of all, by a word"
run auth ls --emulate --user user_123
want_code 0
want_out "IDENTIFIER"
want_out "gmail"
want_err "accounts"
run auth ls gmail --emulate --user user_123
want_code 0
not_out "slack"
run auth ls ab --emulate
want_code 4
want_err "at least 3 characters"
run auth ls one two --emulate
want_code 2

begin "auth revoke: disconnects or deletes one account"
run auth revoke gmail --emulate --user user_123
want_code 0
want_err "gmail: disconnected for user_123 (ca_"
run auth revoke gmail --delete --json --emulate --user user_123
want_code 0
want_out "{"
run auth revoke gmial --emulate --user user_123
want_err "did you mean 'gmail'"
run auth revoke gmail --emulate
want_err "AGENTHOST_USER"
run auth revoke --emulate
want_code 2
run auth revoke gmail --delte --emulate
want_code 2
want_err "did you mean '--delete'"

begin "auth verify: needs a request and a user"
run auth verify arq_none --emulate --user user_123
want_err "cannot verify the user"
empty_out
run auth verify arq_none --emulate
want_err "AGENTHOST_USER"
run auth verify --emulate
want_code 2

begin "tools show: what a tool takes"
run tools show gmail/gmail_send_message --emulate --user user_123
want_code 0
want_out "gmail_send_message (GMAIL, connection gmail; changes something)"
want_out "required"
run tools show gmail_send_mail --emulate --user user_123
want_err "did you mean 'gmail_send_message'"
run tools show --emulate
want_code 2

begin "tools call CONNECTION/TOOL"
run tools call gmail/gmail_fetch_mails --arg max_results=1 --emulate --user user_123
want_code 0
want_out '{"messages":['
run tools call slack/gmail_fetch_mails --emulate --user user_123
want_err "there are no tools named gmail_fetch_mails"

begin "tools call --dry-run: what would be sent, after the arguments were looked at"
run tools call gmail/gmail_fetch_mails --arg max_results=1 --dry-run --emulate --user user_123
want_code 0
is "the path" "$(member "v['path']")" /api/v1/execute_tool
is "the body" "$(member "(v['body']['tool_name'], v['body']['params'], v['body']['connected_account_id'][:3])")" "('gmail_fetch_mails', {'max_results': 1}, 'ca_')"
run tools call gmail/gmail_fetch_mails --arg max_results=many --dry-run --emulate --user user_123
want_err "'max_results' must be of type integer"
empty_out
run tools call gmail/gmail_send_message --arg to=a@b.c --dry-run --emulate --user user_123
want_err "do not fit gmail_send_message"

begin "a run waits for its user: the link is printed, opened, and the run goes on"
cat >pending.lua <<'LUA'
return { accounts = { { connector = "gmail", identifier = "user_123", status = "EXPIRED" } } }
LUA
run run -q --emulate --scenario pending.lua "$ROOT/examples/gmail_digest.lua"
want_code 11
want_err "Let user_123 open this link"
timeout 120 "$AGENTHOST" run -q --emulate --scenario pending.lua --auth-timeout 60 "$ROOT/examples/gmail_digest.lua" >out 2>err </dev/null &
waiter=$!
link=
for _ in $(seq 300); do
  link=$(sed -n 's/.*(waiting up to 60 s): //p' err)
  [ -z "$link" ] || break
  sleep 0.1
done
check "a link was printed" test -n "$link"
curl -s -o page -d decision=approve "$link"
wait "$waiter"
code=$?
want_code 0
want_out "Q3 figures"

begin "an API through the proxy waits for its user, too"
cat >pending.lua <<'LUA'
return { accounts = { { connector = "github", identifier = "user_123", status = "EXPIRED" } } }
LUA
run run -q --emulate --scenario pending.lua "$ROOT/examples/connector.lua"
want_code 11
want_err "the github account of user_123 is EXPIRED"
cat >pending.lua <<'LUA'
return { accounts = "pending", approve_after = 3 }
LUA
run run -q --emulate --scenario pending.lua --auth-timeout 60 "$ROOT/examples/connector.lua"
want_code 0
want_out "Invoice rounding"

begin "--open: the link goes to the browser, once"
cat >pending.lua <<'LUA'
return { accounts = { { connector = "gmail", identifier = "user_123", status = "EXPIRED" } } }
LUA
mkdir bin
printf '#!/bin/sh\nprintf "%%s\\n" "$1" >>"%s/opened"\n' "$PWD" >bin/xdg-open
chmod +x bin/xdg-open
before=$PATH
PATH=$PWD/bin:$PATH
run run -q --emulate --scenario pending.lua --auth-timeout 1 --open "$ROOT/examples/gmail_digest.lua"
want_code 11
is "links opened" "$(grep -c '^http://127.0.0.1.*/magicLink/' opened)" 1
run run -q --emulate --scenario pending.lua --auth-timeout 1 "$ROOT/examples/gmail_digest.lua"
want_code 11
is "links opened" "$(grep -c . opened)" 1
PATH=$before

done_testing
