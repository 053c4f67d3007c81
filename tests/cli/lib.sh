# Shared by tests/cli/*_test.sh: TAP on stdout, a fresh folder and home for each test, no settings of the machine.
# POSIX sh; sourced. The program is $AGENTHOST, the TCP double $AGENTHOST_DOUBLE. Ends only what it started.
#
#   begin NAME            a new test: its own folder (the working folder), its own AGENTHOST_HOME
#   run WORDS...          the program; then $code, and the files out and err
#   want_code N  want_out TEXT  want_err TEXT  not_out TEXT  not_err TEXT  once_err TEXT  empty_out
#   check WHAT COMMAND... any other condition; is WHAT GOT WANTED
#   done_testing          last line
#
# Every test ends with three questions: no sanitizer spoke, no text of $SECRETS is in what was said or journalled
# (values that begin with LEAK are always looked for), and the journal, if there is one, is whole.
set -u
HERE=$(cd "$(dirname "$0")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
AGENTHOST=${AGENTHOST:-$ROOT/build/agenthost}
[ -x "$AGENTHOST" ] || { echo "1..0 # SKIP no program at $AGENTHOST"; exit 77; }
command -v python3 >/dev/null || { echo "1..0 # SKIP python3 is needed"; exit 77; }
command -v curl >/dev/null || { echo "1..0 # SKIP curl is needed"; exit 77; }

for name in $(env | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p'); do
  case "$name" in
    SCALEKIT_*|OPENAI_*|LITELLM_*|LANGSMITH_*|LANGCHAIN_*|AGENTHOST_USER|AGENTHOST_SCRIPTS|AGENTHOST_HOME|NO_COLOR|*_proxy|*_PROXY|\
    SSL_CERT_FILE|CURL_CA_BUNDLE) unset "$name" ;;
  esac
done
ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}exitcode=99:detect_leaks=1"
UBSAN_OPTIONS="${UBSAN_OPTIONS:+$UBSAN_OPTIONS:}print_stacktrace=1"
export ASAN_OPTIONS UBSAN_OPTIONS

TMP=$(mktemp -d)
NUMBER=0 FAILED=0 NAME= SECRETS= CHILDREN= code=0

say_failed() { PROBLEMS="$PROBLEMS$1
"; }

end_children() {
  for child in $CHILDREN; do kill "$child" 2>/dev/null; wait "$child" 2>/dev/null; done
  CHILDREN=
}
leave() { end_test; end_children; cd /; rm -rf "$TMP"; }
trap 'trap - EXIT; end_children; cd /; rm -rf "$TMP"' EXIT
trap 'exit 1' INT TERM

look_for_secrets() {
  for secret in LEAK $SECRETS; do
    found=$(grep -rlaF -e "$secret" out err said home 2>/dev/null | tr '\n' ' ')
    [ -z "$found" ] || say_failed "a secret ($secret) is in: $found"
  done
}

# "ok", or what is wrong with a journal.
journal_state() {
  python3 - "$1" <<'PY'
import sqlite3, sys
try:
    print(sqlite3.connect(sys.argv[1]).execute("pragma integrity_check").fetchone()[0])
except Exception as e:
    print(e)
PY
}

end_test() {
  [ -n "$NAME" ] || return 0
  if [ -z "$KEEP_JOURNAL_BROKEN" ] && [ -s home/journal.db ]; then
    state=$(journal_state home/journal.db)
    [ "$state" = ok ] || say_failed "the journal is not whole: $state"
  fi
  look_for_secrets
  if grep -qaE 'AddressSanitizer|LeakSanitizer|runtime error:|internal error outside' err said 2>/dev/null; then
    say_failed "a sanitizer spoke: $(grep -aE -A12 'Sanitizer|runtime error:|internal error outside' err said | head -n 30)"
  fi
  if [ -z "$PROBLEMS" ]; then
    echo "ok $NUMBER - $NAME"
  else
    FAILED=$((FAILED + 1))
    echo "not ok $NUMBER - $NAME"
    printf '%s' "$PROBLEMS" | sed 's/^/# /'
    echo "# exit code $code; stdout:"; head -c 1500 out 2>/dev/null | tr -d '\000' | sed 's/^/#   /'
    echo "# stderr:"; tail -c 2500 err 2>/dev/null | tr -d '\000' | sed 's/^/#   /'
  fi
  NAME=
}

begin() {
  end_test
  NUMBER=$((NUMBER + 1)) NAME=$1 PROBLEMS= SECRETS= KEEP_JOURNAL_BROKEN= code=0
  W=$TMP/$NUMBER
  mkdir "$W"
  cd "$W" || exit 1
  AGENTHOST_HOME=$W/home
  HOME=$W
  export AGENTHOST_HOME HOME
  : >out
  : >err
}

skip() { # why: ends the test
  echo "ok $NUMBER - $NAME # SKIP $1"
  NAME=
}

run() {
  code=0
  timeout -k 5 "${LIMIT:-60}" "$AGENTHOST" "$@" >out 2>err </dev/null || code=$?
  cat out err >>said
}
# with NAME=VALUE ... -- WORDS: the same with more environment.
with() {
  code=0
  for word in "$@"; do
    [ "$word" = -- ] && break
    assignments="${assignments:-} $word"
  done
  set -- "$@"
  timeout -k 5 "${LIMIT:-60}" python3 -c '
import os, sys
words = sys.argv[2:]
cut = words.index("--")
os.environ.update(w.split("=", 1) for w in words[:cut])
os.execv(sys.argv[1], [sys.argv[1]] + words[cut + 1:])' "$AGENTHOST" "$@" >out 2>err </dev/null || code=$?
  cat out err >>said
}

want_code() { [ "$code" = "$1" ] || say_failed "exit code $code, wanted $1"; }
want_out() { grep -qaF -e "$1" out || say_failed "not on stdout: $1"; }
want_err() { grep -qaF -e "$1" err || say_failed "not on stderr: $1"; }
not_out() { ! grep -qaF -e "$1" out || say_failed "on stdout, and should not be: $1"; }
not_err() { ! grep -qaF -e "$1" err || say_failed "on stderr, and should not be: $1"; }
once_err() {
  n=$(grep -caF -e "$1" err)
  [ "$n" = 1 ] || say_failed "on stderr $n times, wanted once: $1"
}
empty_out() { [ ! -s out ] || say_failed "stdout is not empty"; }
one_line_err() {
  n=$(grep -ac . err)
  [ "$n" = 1 ] || say_failed "$n lines on stderr, wanted one"
}
check() {
  checked=$1
  shift
  "$@" >/dev/null 2>&1 || say_failed "$checked"
}
is() { [ "$2" = "$3" ] || say_failed "$1: $2, wanted $3"; }
valid_json() { python3 -m json.tool <out >/dev/null 2>&1 || say_failed "stdout is not one JSON value"; }
# A member of the JSON on stdout, by a Python expression over `v`.
member() { python3 -c 'import json,sys; v=json.load(open("out")); print(eval(sys.argv[1]))' "$1" 2>&1; }

done_testing() {
  end_test
  echo "1..$NUMBER"
  [ "$FAILED" = 0 ] || { echo "# $FAILED of $NUMBER failed"; exit 1; }
  exit 0
}

# wait_for FILE PATTERN: until a line is there (10 s).
wait_for() {
  for _ in $(seq 1 200); do
    grep -qaE -e "$2" "$1" 2>/dev/null && return 0
    sleep 0.05
  done
  return 1
}

# --- far ends ---------------------------------------------------------------------------------------

# start_emulator WORDS...: $BASE; use_emulator then takes its settings.
start_emulator() {
  rm -f "$TMP/emulator.out" # else an older one's settings could be read
  AGENTHOST_HOME=$TMP/emulator "$AGENTHOST" emulate --port 0 "$@" >"$TMP/emulator.out" 2>"$TMP/emulator.err" &
  EMULATOR=$!
  CHILDREN="$CHILDREN $EMULATOR"
  wait_for "$TMP/emulator.out" '^export SCALEKIT_ENVIRONMENT_URL' || {
    echo "Bail out! the emulator did not start: $(head -n 5 "$TMP/emulator.err")"
    exit 1
  }
  BASE=$(sed -n 's/^listening //p' "$TMP/emulator.out")
}
use_emulator() { eval "$(grep '^export ' "$TMP/emulator.out")"; SECRETS="$OPENAI_API_KEY $SCALEKIT_CLIENT_SECRET $LANGSMITH_API_KEY"; }
no_settings() {
  unset OPENAI_API_KEY OPENAI_BASE_URL SCALEKIT_CLIENT_ID SCALEKIT_CLIENT_SECRET SCALEKIT_ENVIRONMENT_URL LANGSMITH_API_KEY \
    LANGSMITH_ENDPOINT LANGSMITH_TRACING LANGSMITH_PROJECT
}
reset_emulator_trouble() { curl -s -X DELETE "$BASE/__emulator/trouble" >/dev/null; }
reset_emulator() { curl -s -X DELETE "$BASE/__emulator/trouble" >/dev/null; curl -s -X POST "$BASE/__emulator/reset" >/dev/null; }
trouble() { curl -s -o /dev/null -w '%{http_code}' -d "$1" "$BASE/__emulator/trouble" | grep -q 200 || say_failed "no such trouble: $1"; }
# How often a place was asked for.
asked() { state "sum(n for k, n in v['requests'].items() if k.endswith(' $1'))"; }
# A Python expression over the emulator's state `v`.
state() { curl -s "$BASE/__emulator/state" | python3 -c 'import json,sys; v=json.load(sys.stdin); print(eval(sys.argv[1]))' "$1" 2>&1; }

# start_helper COMMAND...: a program that prints "listening PORT" first; $PORT. start_python FILE WORDS...: one of this folder.
start_helper() {
  log=$TMP/helper.$NUMBER.$(echo "$CHILDREN" | wc -w)
  "$@" >"$log" 2>&1 &
  HELPER=$!
  HELPER_LOG=$log
  CHILDREN="$CHILDREN $HELPER"
  wait_for "$log" '^listening ' || { echo "Bail out! $2 did not start: $(head -n 5 "$log")"; exit 1; }
  PORT=$(sed -n 's/^listening //p' "$log")
}
start_python() {
  helper=$1
  shift
  start_helper python3 "$HERE/$helper" "$@"
}
# make_certificate PATH HOST: PATH.pem, which signs for itself, and PATH.key.
make_certificate() {
  openssl req -x509 -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.pem" -days 2 -subj "/CN=$2" -addext "subjectAltName=DNS:$2" >"$1.log" 2>&1 ||
    { echo "1..0 # SKIP no certificate: $(tail -n 1 "$1.log")"; exit 77; }
}
end_helper() { kill "$HELPER" 2>/dev/null; wait "$HELPER" 2>/dev/null; }
