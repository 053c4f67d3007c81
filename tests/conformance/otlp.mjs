// What `agenthost trace export --format otlp --to` sends, against OpenTelemetry's own protocol definitions (npm
// @opentelemetry/otlp-transformer): every field is one of the protocol's, and nothing is lost through protobuf.
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { eq, match, test } from './harness.mjs';

const require = createRequire(import.meta.url);
const { opentelemetry } = require('@opentelemetry/otlp-transformer/build/src/generated/root.js');
const Request = opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest;

// Without what protobuf does not carry: empty texts and lists. Ids are hexadecimal in OTLP's JSON, bytes in protobuf.
const plain = (v, key = '') => {
  if (Array.isArray(v)) return v.map(x => plain(x));
  if (typeof v === 'string') return ['traceId', 'spanId', 'parentSpanId'].includes(key) ? Buffer.from(v, 'hex').toString('base64') : v;
  if (v === null || typeof v !== 'object') return v;
  return Object.fromEntries(Object.entries(v).map(([k, x]) => [k, plain(x, k)]).filter(([, x]) => x !== '' && !(Array.isArray(x) && x.length === 0)));
};

export async function run({ env }) {
  await test('otlp: an exported run is a request of the protocol', async () => {
    const program = process.env.AGENTHOST || path.resolve('../../build/agenthost');
    const home = fs.mkdtempSync(path.join(os.tmpdir(), 'agenthost-'));
    const script = path.join(home, 'traced.lua');
    fs.writeFileSync(script, `
      local trace, openai = require "host.trace", require "host.openai"
      trace.metadata { thread_id = "t1", nested = { 1, 2.5, true } }
      trace.event("seen", { n = 1 })
      trace.span("tool", { run_type = "tool", tags = { "a" } }, function() return { x = { 1.0, "ü" } } end)
      pcall(trace.span, "bad", function() error("no luck", 0) end)
      return openai.chat_model { model = "gpt-4o", temperature = 0.5 }:invoke { { role = "user", content = "hello" } }.content`);
    const run = (...words) => promisify(execFile)(program, words, { env: { ...process.env, ...env, AGENTHOST_HOME: home } });
    await run('run', '-q', script);
    let got;
    const server = http.createServer((req, res) => {
      let body = '';
      req.on('data', piece => { body += piece; });
      req.on('end', () => { got = { path: req.url, type: req.headers['content-type'], extra: req.headers['x-extra'], body }; res.end('{}'); });
    });
    await new Promise(done => server.listen(0, '127.0.0.1', done));
    const { stdout } = await run('trace', 'export', 'last', '--format', 'otlp', '--header', 'x-extra=1', '--to', `http://127.0.0.1:${server.address().port}/v1/traces`);
    server.close();
    match(stdout, /^4 spans sent/);
    eq([got.path, got.type, got.extra], ['/v1/traces', 'application/json', '1']);
    const sent = plain(JSON.parse(got.body));
    eq(Request.verify(Request.fromObject(sent)), null);
    const back = Request.toObject(Request.decode(Request.encode(Request.fromObject(sent)).finish()), { longs: String, enums: Number, bytes: String });
    const drop = v => JSON.parse(JSON.stringify(v, (k, x) => (Array.isArray(x) && x.length === 0) || x === '' ? undefined : x));
    eq(drop(back), drop(sent));
    const spans = back.resourceSpans[0].scopeSpans[0].spans;
    eq(spans.map(s => [s.name, s.status.code]), [['traced', 1], ['tool', 1], ['bad', 2], ['ChatOpenAI', 1]]);
    eq([Buffer.from(spans[0].traceId, 'base64').length, Buffer.from(spans[1].spanId, 'base64').length], [16, 8]);
  });
}
