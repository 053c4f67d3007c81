#!/bin/sh
# Far ends that cannot be trusted or reached: certificates that are expired, self-signed or another's, by a real TLS server
# on this machine; closed ports, names that do not exist, servers that speak no TLS. Exit 4, a sentence, no key leaves.
. "$(dirname "$0")/lib.sh"
command -v openssl >/dev/null || { echo "1..0 # SKIP openssl is needed"; exit 77; }

C=$TMP/certificates
mkdir "$C"
{
  openssl req -x509 -newkey rsa:2048 -nodes -keyout "$C/ca.key" -out "$C/ca.pem" -days 30 -subj "/CN=Test authority" \
    -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign"
  for name in localhost other expired; do
    openssl req -newkey rsa:2048 -nodes -keyout "$C/$name.key" -out "$C/$name.csr" -subj "/CN=$name"
    host=localhost
    [ "$name" = other ] && host=other.example
    printf 'subjectAltName=DNS:%s\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n' "$host" >"$C/$name.ext"
  done
  openssl x509 -req -in "$C/localhost.csr" -CA "$C/ca.pem" -CAkey "$C/ca.key" -CAcreateserial -days 2 -extfile "$C/localhost.ext" -out "$C/localhost.pem"
  openssl x509 -req -in "$C/other.csr" -CA "$C/ca.pem" -CAkey "$C/ca.key" -CAcreateserial -days 2 -extfile "$C/other.ext" -out "$C/other.pem"
  make_certificate "$C/self" localhost
  mkdir "$C/db"
  : >"$C/db/index.txt"
  echo 01 >"$C/db/serial"
  printf '[ca]\ndefault_ca=d\n[d]\ndatabase=%s\nserial=%s\nnew_certs_dir=%s\ndefault_md=sha256\npolicy=p\ncopy_extensions=none\n[p]\ncommonName=supplied\n' \
    "$C/db/index.txt" "$C/db/serial" "$C/db" >"$C/ca.cnf"
  openssl ca -batch -config "$C/ca.cnf" -cert "$C/ca.pem" -keyfile "$C/ca.key" -in "$C/expired.csr" -out "$C/expired.pem" \
    -startdate 20200101000000Z -enddate 20200201000000Z -extfile "$C/expired.ext" -notext
} >"$C/log" 2>&1 || { echo "1..0 # SKIP certificates could not be made: $(tail -n 1 "$C/log")"; exit 77; }

printf '{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"over TLS","refusal":null},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}' >"$TMP/answer.json"
cat >"$TMP/chat.lua" <<'LUA'
local model = require "host.openai".chat_model { model = "gpt-4o", retry = { max = 0 } }
return assert(model:invoke { { role = "user", content = "hello" } }).content
LUA
cat >"$TMP/account.lua" <<'LUA'
return assert(require "host.scalekit".get_or_create_connected_account { connection_name = "gmail", identifier = "u" }).status
LUA

chat() { with OPENAI_API_KEY=sk-LEAK-1234567890 "OPENAI_BASE_URL=$1" "SSL_CERT_FILE=$C/ca.pem" -- run "$TMP/chat.lua"; }

begin "a good certificate of the authority in SSL_CERT_FILE: the answer"
start_python answers.py --body "$TMP/answer.json" --tls "$C/localhost.pem" "$C/localhost.key"
good=$PORT
chat "https://localhost:$PORT/v1"
want_code 0
want_out "over TLS"
not_err "certificate"

untrusted() { # name certificate words
  begin "$1"
  start_python answers.py --body "$TMP/answer.json" --tls "$C/$2.pem" "$C/$2.key"
  chat "https://localhost:$PORT/v1"
  want_code 4
  empty_out
  want_err "certificate"
  want_err "localhost"
  [ -z "${3:-}" ] || want_err "$3"
  with SCALEKIT_CLIENT_ID=skc_1 SCALEKIT_CLIENT_SECRET=LEAK_secret_1 "SCALEKIT_ENVIRONMENT_URL=https://localhost:$PORT" \
    "SSL_CERT_FILE=$C/ca.pem" -- run "$TMP/account.lua"
  want_code 4
  want_err "certificate"
  with LANGSMITH_TRACING=true LANGSMITH_API_KEY=LEAK_lsv2_key "LANGSMITH_ENDPOINT=https://localhost:$PORT" \
    "SSL_CERT_FILE=$C/ca.pem" OPENAI_API_KEY=sk-LEAK-1234567890 "OPENAI_BASE_URL=https://localhost:$good/v1" -- run "$TMP/chat.lua"
  want_code 0
  want_out "over TLS"
  want_err "certificate"
  check "no request reached the far end" sh -c "! grep -q '^request' '$HELPER_LOG'"
}
untrusted "an expired certificate" expired "expired"
untrusted "a self-signed certificate" self
untrusted "another host's certificate" other

begin "doctor says what is wrong with a certificate"
with OPENAI_API_KEY=sk-LEAK-1234567890 "OPENAI_BASE_URL=https://localhost:$PORT/v1" "SSL_CERT_FILE=$C/ca.pem" -- doctor
want_code 4
want_out "certificate"

begin "https where the far end speaks none: exit 4"
start_python answers.py --body "$TMP/answer.json"
LIMIT=30 chat "https://localhost:$PORT/v1"
want_code 4
empty_out

begin "http where the far end wants TLS: exit 4"
LIMIT=30 chat "http://127.0.0.1:$good/v1"
want_code 4
empty_out

begin "a closed port: exit 4, the host and port; LangSmith there: the run is whole"
chat "http://127.0.0.1:1/v1"
want_code 4
want_err "127.0.0.1"
with SCALEKIT_CLIENT_ID=skc_1 SCALEKIT_CLIENT_SECRET=LEAK_secret_1 SCALEKIT_ENVIRONMENT_URL=http://127.0.0.1:1 -- run "$TMP/account.lua"
want_code 4
want_err "127.0.0.1"
with LANGSMITH_TRACING=true LANGSMITH_API_KEY=LEAK_lsv2_key LANGSMITH_ENDPOINT=http://127.0.0.1:1 OPENAI_API_KEY=sk-LEAK-1234567890 \
  "OPENAI_BASE_URL=https://localhost:$good/v1" "SSL_CERT_FILE=$C/ca.pem" -- run "$TMP/chat.lua"
want_code 0
want_out "over TLS"
want_err "127.0.0.1:1"

begin "a host that does not exist: exit 4, its name"
chat "https://no-such-host.invalid/v1"
want_code 4
want_err "no-such-host.invalid"

begin "an SSL_CERT_FILE that is not there: exit 3 or 4, its name"
with OPENAI_API_KEY=sk-LEAK-1234567890 "OPENAI_BASE_URL=https://localhost:$good/v1" SSL_CERT_FILE=/nonexistent/ca.pem -- run "$TMP/chat.lua"
check "exit code 3 or 4, not $code" test "$code" = 3 -o "$code" = 4
want_err "/nonexistent/ca.pem"

done_testing
