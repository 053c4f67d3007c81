// An HTTP/2 server for tests/cli/http2_test.sh: h2_server.mjs CERTIFICATE KEY
// Prints "listening PORT", then a line for each thing it sees: "session N", "stream PATH BODY-BYTES" (a whole request),
// "closed PATH CODE" (a stream that the client or the far end reset), "plain PATH" (a request over HTTP/1.1) and "left
// PATH" (its client went away). What a path does stands in `paths`.
import http2 from "node:http2";
import { readFileSync } from "node:fs";

const { NGHTTP2_REFUSED_STREAM, NGHTTP2_INTERNAL_ERROR, NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_NO_ERROR } = http2.constants;
const [certificate, key] = process.argv.slice(2);
const say = (...words) => process.stdout.write(words.join(" ") + "\n");
const parent = process.ppid;
setInterval(() => process.ppid === parent || process.exit(0), 500).unref(); // a killed test cannot end us

const gathered = [], held = new Map(), seen = new Map();
const answer = (s, text) => { s.respond({ ":status": 200, "content-type": "text/plain", "x-request-id": "h2-1" }); s.end(text); };
const begin = (s, text) => { s.respond({ ":status": 200, "content-type": "text/plain" }); s.write(text); };

const paths = {
  "/ok": (s) => answer(s, "ok"),
  "/echo": (s, body) => answer(s, `${body.length} bytes`),
  "/gather": (s, body, count) => { // nobody is answered until `count` are here: only requests side by side get through
    gathered.push(s);
    if (gathered.length === +count) for (const each of gathered.splice(0)) answer(each, "together");
  },
  "/hold": (s, body, name) => { begin(s, `first of ${name}\n`); held.set(name, s); },
  "/release": (s, body, name) => { held.get(name).end(`last of ${name}\n`); answer(s, "released"); },
  "/flood": (s) => { s.respond({ ":status": 200 }); s.end(Buffer.alloc(4 << 20, "x")); },
  "/refuse": (s) => s.close(NGHTTP2_REFUSED_STREAM),
  "/refuse-once": (s, body, name) => seen.get(name) ? answer(s, "second") : (seen.set(name, 1), s.close(NGHTTP2_REFUSED_STREAM)),
  "/goaway-once": (s, body, name) => { // "what came after the last stream was not processed"
    if (seen.get(name)) return answer(s, "second");
    seen.set(name, 1);
    s.session.goaway(NGHTTP2_NO_ERROR, s.id - 2);
  },
  "/calm": (s) => { begin(s, "part"); s.session.goaway(NGHTTP2_ENHANCE_YOUR_CALM); s.session.destroy(undefined, NGHTTP2_ENHANCE_YOUR_CALM); },
  "/last": (s) => { answer(s, "last"); s.session.goaway(NGHTTP2_NO_ERROR); }, // an orderly end: this one is served
  "/reset": (s) => { begin(s, "part"); setTimeout(() => s.destroy(new Error("torn")), 20); },
  "/reset-unanswered": (s) => s.close(NGHTTP2_INTERNAL_ERROR),
  "/cut": (s) => { begin(s, "part"); setTimeout(() => sockets.get(s.session.socket.remotePort).destroy(), 20); },
  "/die": (s) => s.session.destroy(), // executes, and closes without a word
  "/busy": (s) => { s.respond({ ":status": 503, "content-type": "text/plain" }); s.end("busy"); },
};

const sockets = new Map(); // by the client's port: Node hides a session's socket
let sessions = 0;
const server = http2.createSecureServer({ cert: readFileSync(certificate), key: readFileSync(key), allowHTTP1: true });
server.on("request", (req, res) => {
  if (req.httpVersionMajor !== 1) return;
  const [path, query] = req.url.split("?");
  say("plain", req.url);
  res.on("close", () => res.writableFinished || say("left", req.url));
  res.respond = ({ ":status": status, ...headers }) => res.writeHead(status, headers);
  paths[path](res, "", query);
});
server.on("secureConnection", (socket) => sockets.set(socket.remotePort, socket));
server.on("session", () => say("session", ++sessions));
server.on("sessionError", () => {});
server.on("stream", (s, headers) => {
  const [path, query = ""] = headers[":path"].split("?");
  const pieces = [];
  s.on("error", () => {});
  s.on("close", () => s.rstCode && say("closed", headers[":path"], s.rstCode));
  s.on("data", (piece) => pieces.push(piece));
  s.on("end", () => {
    say("stream", headers[":path"], Buffer.concat(pieces).length);
    (paths[path] ?? paths["/ok"])(s, Buffer.concat(pieces), query);
  });
});
server.listen(0, "127.0.0.1", () => say("listening", server.address().port));
