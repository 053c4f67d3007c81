#!/bin/sh
# Proxies from the usual variables: absolute request lines for http, CONNECT for https, who needs none, and what is said
# when a proxy refuses or cannot be reached. Its password is in nothing that is printed, logged or journalled.
. "$(dirname "$0")/lib.sh"
command -v openssl >/dev/null || { echo "1..0 # SKIP openssl is needed"; exit 77; }
[ -x "${AGENTHOST_DOUBLE:-}" ] || { echo "1..0 # SKIP no TCP double (AGENTHOST_DOUBLE)"; exit 77; }

make_certificate "$TMP/far" far.example
printf '{"over":"tls"}' >"$TMP/answer.json"
cat >"$TMP/get.lua" <<'LUA'
local http, script = require "host.http", require "host.script"
local url, method = table.unpack(script.args())
local res, err = http.request { url = url, method = method, body = method and "x", retry = false, timeout = 20 }
print(res and res.status or err.kind, res and res.body or err.code, (res or err).attempts, res and res.headers["x-of"] or "")
if err then error(err) end
LUA
get() { # VARIABLE=VALUE... -- URL [METHOD]
  with "SSL_CERT_FILE=$TMP/far.pem" "$@"
}
start_double() { # FILE: a case; its end is asked for by end_double
  mkfifo hold
  sleep 60 >hold &
  HOLDER=$!
  "$AGENTHOST_DOUBLE" "$1" <hold >double.log 2>&1 &
  DOUBLE=$!
  CHILDREN="$CHILDREN $HOLDER $DOUBLE"
  wait_for double.log '^listening ' || say_failed "the double did not start: $(cat double.log)"
  PORT=$(sed -n 's/^listening //p' double.log)
}
end_double() {
  kill "$HOLDER" 2>/dev/null
  wait "$DOUBLE" || say_failed "the proxy met something else: $(cat double.log)"
}

begin "http: the whole URL in the request line, name and password in their header, one connection"
cat >proxy.case <<'CASE'
connection
> GET http://far.example/a?b=c HTTP/1.1
> Host: far.example
> Proxy-Authorization: Basic YW5uOkxFQUtfczpj
> ...
>
< HTTP/1.1 200 OK
< Content-Length: 2
<
<| ok
CASE
start_double proxy.case
get "http_proxy=http://ann:LEAK_s%3Ac@127.0.0.1:$PORT" -- run -v "$TMP/get.lua" "http://far.example/a?b=c"
want_code 0
want_out "200	ok	1"
end_double

begin "http: what is unsafe and fails behind a proxy is not sent again"
cat >proxy.case <<'CASE'
connection
> POST http://far.example/ HTTP/1.1
> ...
>
>| x
close
CASE
start_double proxy.case
get "http_proxy=127.0.0.1:$PORT" -- run "$TMP/get.lua" http://far.example/ POST
want_out "outcome_unknown"
end_double

begin "http: 407 names the variable"
cat >proxy.case <<'CASE'
connection
> GET http://far.example/ HTTP/1.1
> ...
>
< HTTP/1.1 407 Who
< Content-Length: 0
<
CASE
start_double proxy.case
get "http_proxy=http://127.0.0.1:$PORT" -- run "$TMP/get.lua" http://far.example/
want_code 3
want_out "config	proxy	1"
want_err "http_proxy"
want_err "wants a name and a password"
end_double

begin "https: CONNECT, and TLS with the far end itself; the proxy's headers are not the answer's"
start_python answers.py --body "$TMP/answer.json" --tls "$TMP/far.pem" "$TMP/far.key"
FAR=$PORT
start_python tunnel.py "$FAR" --user ann:LEAK_password
for name in https_proxy HTTPS_PROXY all_proxy ALL_PROXY; do
  get "$name=http://ann:LEAK_password@127.0.0.1:$PORT" -- run -v "$TMP/get.lua" "https://far.example:4444/x"
  want_code 0
  want_out '200	{"over":"tls"}	1	'
  not_out "proxy"
done
is "CONNECTs" "$(grep -c -x 'CONNECT far.example:4444 HTTP/1.1' "$HELPER_LOG")" 4
is "authorized" "$(grep -c authorized "$HELPER_LOG")" 4

begin "a .env file names one too"
printf 'https_proxy=http://ann:LEAK_password@127.0.0.1:%s\n' "$PORT" >.env
chmod 600 .env
get A=b -- run "$TMP/get.lua" https://far.example/
want_code 0
want_out "200"

begin "https: the proxy wants another password: exit 3, the variable, not the value"
get "https_proxy=http://ann:LEAK_wrong@127.0.0.1:$PORT" -- run -v "$TMP/get.lua" https://far.example/
want_code 3
want_out "config	proxy	1"
want_err "https_proxy"
want_err "http://127.0.0.1:$PORT"
want_err "status 407, name or password are wrong"
get "https_proxy=http://127.0.0.1:$PORT" -- run -v "$TMP/get.lua" https://far.example/
want_code 3
want_err "wants a name and a password"

begin "https: the proxy answers 502: network, also what is unsafe has not left"
start_python tunnel.py "$FAR" --status 502
for method in "" POST; do
  get "https_proxy=http://ann:LEAK_password@127.0.0.1:$PORT" -- run -v "$TMP/get.lua" https://far.example/ $method
  want_code 4
  want_out "network	proxy	1"
  want_err "did not pass a request on to far.example:443: status 502"
  want_err "https_proxy"
done

begin "the policy repeats what a proxy refused with 502, also what is unsafe: it was never sent"
cat >twice.lua <<'LUA'
local http = require "host.http"
local res, err = http.post("https://far.example/", { body = "x", timeout = 20, retry = { max = 1, base = 0.01 } })
print(res, err.kind, err.attempts)
LUA
get "https_proxy=http://127.0.0.1:$PORT" -- run twice.lua
want_out "nil	network	2"

begin "a proxy that is not there, and one whose name does not exist"
get "https_proxy=http://ann:LEAK_password@127.0.0.1:1" -- run -v "$TMP/get.lua" https://far.example/
want_code 4
want_out "network	proxy	1"
want_err "the proxy http://127.0.0.1:1 could not be used"
want_err "check https_proxy"
get "ALL_PROXY=http://ann:LEAK_password@no-such-proxy.invalid:1" -- run "$TMP/get.lua" http://far.example/
want_code 4
want_err "no-such-proxy.invalid"
want_err "check ALL_PROXY"

begin "what is no address of a proxy: exit 3, the variable, not the value"
for value in "ftp://ann:LEAK_password@p:1" "http://ann:LEAK_password@p:1/x" "http://ann:LEAK_password@"; do
  get "https_proxy=$value" -- run -v "$TMP/get.lua" https://far.example/
  want_code 3
  want_err "https_proxy does not hold the address of a proxy"
done

begin "no_proxy, loopback, and HTTP_PROXY: no proxy is asked"
start_python answers.py --body "$TMP/answer.json"
for words in "http_proxy=http://127.0.0.1:1" "all_proxy=http://ann:LEAK_password@p:no-port"; do
  get "$words" -- run "$TMP/get.lua" "http://127.0.0.1:$PORT/"
  want_code 0
  want_out "200"
done
get http_proxy=http://127.0.0.1:1 no_proxy=.invalid -- run "$TMP/get.lua" http://no-such-host.invalid/
want_code 4
want_err "no such host as no-such-host.invalid"
get HTTP_PROXY=http://127.0.0.1:1 -- run "$TMP/get.lua" http://no-such-host.invalid/
want_err "no such host as no-such-host.invalid"

begin "the emulator is of this machine: never through a proxy"
cp "$ROOT/examples/gmail_digest.lua" .
get http_proxy=http://127.0.0.1:1 https_proxy=http://127.0.0.1:1 ALL_PROXY=http://127.0.0.1:1 -- demo
want_code 0

begin "scripts do not see the password"
cat >look.lua <<'LUA'
local host = require "host"
print(os.getenv "https_proxy", os.getenv "http_proxy", host.config "https_proxy", host.config "http_proxy")
LUA
get "https_proxy=http://ann:LEAK_password@127.0.0.1:1" http_proxy=http://127.0.0.1:1 -- run look.lua
want_out "nil	http://127.0.0.1:1	nil	http://127.0.0.1:1"

done_testing
