#!/bin/sh
# agenthost new: what it makes works as it is, and it never writes over anything.
. "$(dirname "$0")/lib.sh"

begin "script, prompt, tools, test, settings; the script runs, the test passes, check finds nothing"
run new mail-digest
want_code 0
for file in mail-digest.lua prompts/mail-digest.md tools.lua mail-digest_test.lua .env.example .gitignore .luarc.json; do
  check "there is $file" test -s "mail-digest/$file"
  want_out "mail-digest/$file"
done
check "no name is left open" sh -c "! grep -r '@[A-Z]*@' mail-digest"
is ".gitignore" "$(cat mail-digest/.gitignore)" .env
python3 -m json.tool mail-digest/.luarc.json >luarc 2>&1 || say_failed ".luarc.json: $(cat luarc)"
want_err "agenthost run --emulate mail-digest.lua"
run run --emulate -q mail-digest/mail-digest.lua
want_code 0
want_out "unread emails"
run run mail-digest/mail-digest_test.lua
want_code 0
want_out "ok"
run check mail-digest/mail-digest.lua mail-digest/mail-digest_test.lua mail-digest/tools.lua
want_code 0
empty_out
cd mail-digest || exit 1
"$AGENTHOST" run --emulate -q mail-digest.lua >../out 2>../err
code=$?
cd ..
want_code 0
cp mail-digest/.env.example mail-digest/.env # blank settings are none, and no error
run run --emulate -q mail-digest/mail-digest.lua
want_code 0

begin "the test can fail"
run new -q a
want_code 0
is "bytes on stderr" "$(wc -c <err)" 0
sed -i 's/select(2, args.text/select(1, args.text/' a/tools.lua
run run a/a_test.lua
want_code 1

begin "nothing is written over; a folder that holds something is refused, an empty one taken"
run new a
echo "mine" >a/a.lua
run new a
want_code 3
want_err "there already"
is "my file" "$(cat a/a.lua)" mine
mkdir empty
run new empty/
want_code 0
check "in it" test -s empty/empty.lua
run new deep/er/b
want_code 0
check "deep" test -s deep/er/b/prompts/b.md
: >file
run new file
want_code 3
run new file/x
want_code 3
for name in "" 1a "a b" ../a/.. .hidden "a@NAME@" "$(printf 'a%.0s' $(seq 100))"; do
  code=0
  "$AGENTHOST" new "$name" >out 2>err || code=$?
  want_code 3
  empty_out
done
run new --json c
want_code 0
valid_json
run new --json c
want_code 3
valid_json

begin "the stubs are the installed ones"
mkdir -p p/bin p/share/agenthost/scripts
cp "$AGENTHOST" p/bin/agenthost
code=0
timeout 60 p/bin/agenthost new x >out 2>err || code=$?
want_code 0
is "library" "$(python3 -c 'import json; print(json.load(open("x/.luarc.json"))["workspace.library"])')" "['$PWD/p/share/agenthost/scripts/meta']"

done_testing
