#!/bin/sh
# A journal that cannot be used: locked, read-only, full, damaged, of a newer version. Said once; the run goes on in memory;
# calls that must not be repeated are refused unless --no-journal; commands that read it fail with 3.
. "$(dirname "$0")/lib.sh"

DIGEST=$ROOT/examples/gmail_digest.lua
cat >"$TMP/send.lua" <<'LUA'
local scalekit = require "host.scalekit"
local result = assert(scalekit.execute_tool {
  tool_name = "gmail_send_message", tool_input = { to = "a@example.com", subject = "s", body = "b" }, connection_name = "gmail",
  identifier = "user_123",
})
print("sent " .. result.json)
LUA
start_emulator
use_emulator

# unusable WORDS: with the journal as it is now.
unusable() {
  KEEP_JOURNAL_BROKEN=yes
  reset_emulator
  run run "$DIGEST"
  want_code 0
  want_out "unread emails"
  once_err "$1"
  want_err "memory"
  is "ended runs at the far end" "$(state 'v["runs"]["ended"]')" 4
  run run "$TMP/send.lua"
  want_code 3
  want_err "--no-journal"
  is "e-mails sent" "$(state 'len(v["outbox"])')" 0
  run run --no-journal "$TMP/send.lua"
  want_code 0
  want_out "sent"
  is "e-mails sent" "$(state 'len(v["outbox"])')" 1
  run trace ls
  want_code 3
  empty_out
  run doctor
  want_code 3
  want_out "bad  journal"
}

begin "a journal that works, then survives all this: 2 runs"
run run "$DIGEST"
want_code 0
run run "$TMP/send.lua"
want_code 0
run trace ls
want_code 0
want_out "gmail_digest"
is "mode of the folder" "$(stat -c %a home)" 700
is "mode of the file" "$(stat -c %a home/journal.db)" 600

begin "damaged: random bytes at its head; the file is left as it is"
mkdir -m 700 home
head -c 65536 /dev/urandom >home/journal.db
before=$(sha256sum <home/journal.db)
unusable journal
is "the file" "$(sha256sum <home/journal.db)" "$before"

begin "damaged: pages in the middle overwritten"
run run "$DIGEST"
python3 - <<'PY'
import os, sqlite3
c = sqlite3.connect("home/journal.db")
c.execute("pragma wal_checkpoint(truncate)")
c.close()
size = os.path.getsize("home/journal.db")
with open("home/journal.db", "r+b") as f:
    f.seek(16384)
    f.write(os.urandom(size - 16384))
PY
rm -f home/journal.db-wal home/journal.db-shm
KEEP_JOURNAL_BROKEN=yes
run run "$DIGEST"
want_code 0
want_out "unread emails"
want_err "journal"
run trace ls
check "exit code 0 or 3, not $code" test "$code" = 0 -o "$code" = 3

begin "of a newer version: refused, not touched"
run run "$DIGEST"
python3 -c 'import sqlite3; c = sqlite3.connect("home/journal.db"); c.execute("pragma user_version = 99"); c.commit()'
unusable newer
is "its version" "$(python3 -c 'import sqlite3; print(sqlite3.connect("home/journal.db").execute("pragma user_version").fetchone()[0])')" 99

begin "another program's database"
mkdir -m 700 home
python3 -c 'import sqlite3; c = sqlite3.connect("home/journal.db"); c.execute("create table event (x)"); c.execute("pragma user_version = 1"); c.commit()'
KEEP_JOURNAL_BROKEN=yes
run run "$DIGEST"
want_code 0
want_out "unread emails"
want_err "journal"

begin "a folder in its place"
mkdir -p home/journal.db
unusable journal

begin "locked for good by another process"
run run "$DIGEST"
python3 -c '
import sqlite3, sys, time
c = sqlite3.connect("home/journal.db", isolation_level=None)
c.execute("begin exclusive")
print("locked", flush=True)
time.sleep(600)' >lock.log 2>&1 &
locker=$!
CHILDREN="$CHILDREN $locker"
check "the lock is held" wait_for lock.log locked
unusable locked
kill "$locker"
wait "$locker" 2>/dev/null
run run "$DIGEST"
want_code 0
not_err "memory"

begin "locked for a moment in the middle of a run: nothing is lost, nothing is said"
cat >slow.lua <<'LUA'
local task, trace = require "host.task", require "host.trace"
for i = 1, 20 do trace.span("step " .. i, {}, function() task.sleep(0.05) end) end
LUA
run run "$DIGEST"
python3 -c '
import sqlite3, time
for _ in range(4):
    c = sqlite3.connect("home/journal.db", isolation_level=None, timeout=30)
    c.execute("begin immediate")
    time.sleep(0.3)
    c.execute("commit")
    c.close()' &
locker=$!
CHILDREN="$CHILDREN $locker"
reset_emulator
run run slow.lua
want_code 0
not_err "memory"
is "ended runs at the far end" "$(state 'v["runs"]["ended"]')" 21
wait "$locker"

begin "eight at once share it: all runs are in it"
for i in 1 2 3 4 5 6 7 8; do
  timeout 60 "$AGENTHOST" run -q "$DIGEST" >"out.$i" 2>"err.$i" &
  eval "pid$i=$!"
done
for i in 1 2 3 4 5 6 7 8; do
  eval "wait \$pid$i" || say_failed "run $i: $(cat "err.$i")"
  grep -q "unread emails" "out.$i" || say_failed "run $i has no answer: $(cat "err.$i")"
done
run trace ls --json
want_code 0
check "each line is JSON" python3 -m json.tool --json-lines out
is "runs" "$(wc -l <out)" 8

if [ "$(id -u)" = 0 ] && command -v unshare >/dev/null && unshare -m true 2>/dev/null; then
  # Root may write to anything but a file system that is read-only or full.
  begin "on a file system that is read-only"
  run run "$DIGEST"
  KEEP_JOURNAL_BROKEN=yes
  code=0
  timeout 60 unshare -m sh -c 'mount --bind home home && mount -o remount,bind,ro home && exec "$0" "$@"' "$AGENTHOST" run "$DIGEST" \
    >out 2>err </dev/null || code=$?
  want_code 0
  want_out "unread emails"
  once_err "memory"
  code=0
  timeout 60 unshare -m sh -c 'mount --bind home home && mount -o remount,bind,ro home && exec "$0" "$@"' "$AGENTHOST" run "$TMP/send.lua" \
    >out 2>err </dev/null || code=$?
  want_code 3
  want_err "--no-journal"

  begin "on a tmpfs of 2 MB that is full, and one that fills up in the middle of a run"
  KEEP_JOURNAL_BROKEN=yes
  mkdir home
  cat >fill.lua <<'LUA'
local trace = require "host.trace"
for i = 1, 3000 do trace.span("step " .. i, { inputs = { text = ("x%d "):format(i):rep(300) } }, function() end) end
print "all done"
LUA
  reset_emulator
  code=0
  timeout 120 unshare -m sh -c 'mount -t tmpfs -o size=2m tmpfs home && head -c 2000k /dev/zero >home/filler && exec "$@"' sh \
    "$AGENTHOST" run fill.lua >out 2>err </dev/null || code=$?
  want_code 0
  want_out "all done"
  once_err "memory"
  is "ended runs at the far end" "$(state 'v["runs"]["ended"]')" 3001
  code=0
  timeout 60 unshare -m sh -c 'mount -t tmpfs -o size=2m tmpfs home && head -c 2000k /dev/zero >home/filler && exec "$@"' sh \
    "$AGENTHOST" run "$TMP/send.lua" >out 2>err </dev/null || code=$?
  want_code 3
  want_err "the disk is full"

  begin "a disk that fills up in the middle of a run: what it holds leaves with the next run, once there is room: nothing is lost"
  KEEP_JOURNAL_BROKEN=yes
  reset_emulator
  mkdir home
  cp "$TMP/$((NUMBER - 1))/fill.lua" .
  echo 'print "next"' >next.lua
  code=0
  timeout 120 unshare -m sh -c 'mount -t tmpfs -o size=4m tmpfs home && head -c 2000k /dev/zero >home/filler && "$1" run fill.lua &&
    rm home/filler && exec "$1" run -q next.lua' sh "$AGENTHOST" >out 2>err </dev/null || code=$?
  want_code 0
  want_out "all done"
  want_out "next"
  once_err "the disk is full"
  is "ended runs at the far end" "$(state 'v["runs"]["ended"]')" 3002
else
  begin "on a read-only file system and on a full tmpfs"
  skip "mounting needs root"
fi

begin "no home at all: HOME unset, AGENTHOST_HOME a file"
: >file
AGENTHOST_HOME=$PWD/file run run "$DIGEST"
want_code 0
want_out "unread emails"
once_err "memory"
code=0
env -u HOME -u AGENTHOST_HOME -u XDG_STATE_HOME "$AGENTHOST" run -q "$DIGEST" >out 2>err </dev/null || code=$?
check "exit code 0 or 3, not $code" test "$code" = 0 -o "$code" = 3

begin "killed with SIGKILL in a run: what ended is there, the next run says nothing and sends it"
reset_emulator
cat >die.lua <<'LUA'
local task, trace = require "host.task", require "host.trace"
for i = 1, 5 do trace.span("step " .. i, {}, function() end) end
task.sleep(0.05)
print "now"
io.stdout:flush()
task.sleep(60)
LUA
"$AGENTHOST" run -q die.lua >die.out 2>die.err </dev/null &
victim=$!
CHILDREN="$CHILDREN $victim"
check "it runs" wait_for die.out now
kill -9 "$victim"
wait "$victim" 2>/dev/null
run trace ls
want_code 0
want_out "die"
run run -q "$DIGEST"
want_code 0
is "ended runs at the far end: 5 steps, their root, and 4" "$(state 'v["runs"]["ended"]')" 10

done_testing
