// Everything that was said on the wire while the tests ran, against the services' own documents: requests of
// agenthost (and of whoever the emulator believed), answers of the emulator, webhooks. Run by openapi_test.sh:
//   node openapi.mjs DOCUMENTS WIRE-LOGS PROJECT [--partial]
// --partial: not all tests ran, so nothing is said about what was never seen. openapi_differences.json holds what
// differs and why; an entry that explains nothing fails, as does a mutated value that a schema lets pass.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { matcher, readDocuments } from './openapi_docs.mjs';
import { Schemas } from './openapi_schema.mjs';
import { readLogs, readCases, readRows, partsOf } from './openapi_wire.mjs';
import { mutate } from './openapi_mutate.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const [documentFolder, logFolder, project] = process.argv.slice(2), partial = process.argv.includes('--partial');
const { documents, operations } = await readDocuments(documentFolder);
const differences = JSON.parse(fs.readFileSync(path.join(here, 'openapi_differences.json'), 'utf8'));
const schemas = new Schemas(documents);
const log = readLogs(logFolder), seen = new Map(), problems = new Map();

// --- finding the operation -----------------------------------------------------------------------------------

const SPELLINGS = {
  scalekit: p => [p],
  openai: p => [p.replace(/^(.*\/v1|\/openai\/deployments\/[^/]+|\/engines\/[^/]+)(?=\/)/, '')],
  langsmith: p => [p, `/api/v1${p}`, p.replace(/^\/api\/v1/, ''), p.replace(/^\/api(?=\/)/, ''), p.replace(/^\/api(?=\/)/, '/api/v1'),
    p.replace(/^\/api\/v1/, '/v1')],
};

function find(service, method, given) {
  for (const spelt of SPELLINGS[service](given.replace(/\/+/g, '/').replace(/(?<=.)\/$/, ''))) {
    for (const op of operations) {
      if (op.service !== service || op.method !== method) continue;
      const values = op.match(spelt);
      if (values) return { op, values };
    }
  }
  return null;
}

// --- reporting -----------------------------------------------------------------------------------------------

function problem(where, what, sample) {
  const key = `${where}: ${what}`;
  if (!problems.has(key)) problems.set(key, { count: 0, sample });
  problems.get(key).count++;
}

function hold(validator, value, where, sample) {
  const lines = schemas.say(validator, value);
  validator.seen++;
  if (lines.length === 0 && validator.good === undefined) validator.good = value;
  for (const line of lines) problem(where, line, sample);
  return lines.length === 0;
}

function parse(bytes) {
  try { return { value: JSON.parse(bytes.toString('utf8')) }; } catch { return { bad: true }; }
}

// --- requests ------------------------------------------------------------------------------------------------

const AS = { integer: t => /^-?\d+$/.test(t) ? Number(t) : t, number: t => t !== '' && Number.isFinite(Number(t)) ? Number(t) : t,
  boolean: t => t === 'true' ? true : t === 'false' ? false : t };
const typesOf = (schema, doc) => {
  const name = schema?.$ref?.split('/').pop();
  if (name) return typesOf(documents[doc].components.schemas[name], doc);
  return [].concat(schema?.type ?? [], ...(schema?.anyOf || schema?.oneOf || schema?.allOf || []).map(s => typesOf(s, doc)));
};
const itemsOf = schema => schema.items ?? (schema.anyOf || schema.oneOf || []).map(s => s.items).find(Boolean) ?? {};

function valueOf(texts, schema, doc) {
  const types = typesOf(schema, doc), convert = (text, kinds) => kinds.reduce((v, kind) => typeof v === 'string' && AS[kind] ? AS[kind](v) : v, text);
  if (types.includes('array') && (texts.length > 1 || !types.some(t => t !== 'array' && t !== 'null'))) return texts.map(t => convert(t, typesOf(itemsOf(schema), doc)));
  return convert(texts[texts.length - 1], types);
}

function checkParams(op, x, values, where) {
  const query = new Map();
  for (const [k, v] of new URLSearchParams(x.query)) query.set(k, [...(query.get(k) || []), v]);
  for (const p of op.params) {
    if (p.in !== 'query' && p.in !== 'path') continue;
    const texts = p.in === 'path' ? values[p.name] !== undefined && [values[p.name]] : query.get(p.name);
    query.delete(p.in === 'query' ? p.name : '');
    if (!texts) {
      if (p.required) problem(where, `?${p.name} is required`, x);
      continue;
    }
    hold(schemas.validator(p.schema ?? {}, op.doc, 'request', `${op.id} ?${p.name}`), valueOf(texts, p.schema ?? {}, op.doc), `${where} ?${p.name}`, x);
  }
  for (const name of query.keys()) problem(where, `?${name} is not named`, x);
}

// LangSmith's multipart bodies: each JSON part against the schema of what it is part of.
function partSchema(op, name) {
  const run = { $ref: '#/components/schemas/runs.Run' };
  if (op.path === '/runs/multipart') {
    const [kind, , field] = name.split('.');
    if (kind === 'feedback') return { $ref: '#/components/schemas/FeedbackCreateSchema' };
    if (kind !== 'post' && kind !== 'patch') return kind === 'attachment' ? null : undefined;
    return field ? documents.langsmith.components.schemas['runs.Run'].properties[field] : run;
  }
  const field = name.split('.')[1];
  return field === undefined || field === 'inputs' || field === 'outputs' || field === 'attachments_operations' ? { type: 'object' }
    : field.startsWith('attachment') ? null : undefined;
}

function checkParts(op, x, where) {
  for (const part of partsOf(x.body, x.headers['content-type'])) {
    const shown = part.name.replace(/[0-9a-f]{8}-[0-9a-f-]{27}/g, '{id}'), schema = partSchema(op, part.name);
    if (schema === undefined) problem(where, `part ${shown} is not named`, x);
    if (!schema) continue;
    const { value, bad } = parse(part.bytes);
    if (bad) problem(where, `part ${shown} is not JSON`, x);
    else hold(schemas.validator(schema, op.doc, 'request', `${op.id} part ${shown}`), value, `${where} part ${shown}`, x);
  }
}

let tooLong = 0;

function checkBody(op, x, where) {
  const type = (x.headers['content-type'] || '').split(';')[0].trim();
  if (!x.body || x.body.length === 0) {
    if (x.request?.bytes > 0) return void tooLong++; // not kept: the log has its length only
    if (op.bodyRequired) problem(where, 'a body is required', x);
    return;
  }
  if (!op.body) return void (x.body.toString().trim() !== '{}' && problem(where, 'a body is not named', x));
  if (type === 'multipart/form-data') {
    if (!op.body[type]) return problem(where, `a body of ${type} is not named`, x);
    if (op.doc === 'langsmith' && !/upload/.test(op.path)) checkParts(op, x, where);
    return;
  }
  const schema = op.body['application/json'] ?? op.body['*/*'];
  if (!schema) return problem(where, `a body of ${type || 'no type'} is not named`, x);
  const { value, bad } = parse(x.body);
  if (bad) problem(where, 'the body is not JSON', x);
  else hold(schemas.validator(schema, op.doc, 'request', `${op.id} body`), value, where, x);
}

// --- answers -------------------------------------------------------------------------------------------------

const ERRORS = {
  scalekit: ['proto', { type: 'object', required: ['code', 'message'], properties: { code: { type: 'integer' }, message: { type: 'string' },
    details: { type: 'array', items: { type: 'object', required: ['@type'], properties: { '@type': { type: 'string' },
      ...(documents.proto.components.schemas['errdetails.ErrorInfo']?.properties) } } } } }],
  openai: ['openai', { $ref: '#/components/schemas/ErrorResponse' }],
};

function schemaOfAnswer(op, x, type) {
  const exact = op.answers[x.status] ?? op.answers[`${String(x.status)[0]}XX`];
  if (x.status >= 400 && ERRORS[op.service]) return ERRORS[op.service];
  const content = exact ?? op.answers.default;
  if (!content) return null;
  return [op.doc, content[type.replace(/^application\/.*\+json$/, 'application/json')] ?? (Object.keys(content).length === 0 ? {} : undefined)];
}

function checkAnswer(op, x, where) {
  const type = (x.answerHeaders['content-type'] || '').split(';')[0].trim();
  const found = schemaOfAnswer(op, x, type);
  if (!found) return problem(where, `the status ${x.status} is not named`, x);
  const [doc, schema] = found, label = `${op.id} ${x.status >= 400 && ERRORS[op.service] ? 'refusal' : x.status} ${type}`;
  if (schema === undefined) return void (x.answer?.length && problem(where, `an answer of ${type || 'no type'} is not named`, x));
  if (!x.answer || x.answer.length === 0) return;
  const validator = schemas.validator(schema, doc, 'answer', label);
  if (type === 'text/event-stream') {
    for (const data of x.answer.toString().split(/\r?\n/).filter(l => l.startsWith('data:')).map(l => l.slice(5).trim()).filter(d => d !== '[DONE]')) {
      const { value, bad } = parse(Buffer.from(data));
      if (bad) problem(where, 'an event is not JSON', x);
      else hold(validator, value, where, x);
    }
  } else if (/^(application\/(.*\+)?json)?$/.test(type)) {
    const { value, bad } = parse(x.answer);
    if (bad) problem(where, 'the answer is not JSON', x);
    else hold(validator, value, where, x);
  }
}

// --- one exchange --------------------------------------------------------------------------------------------

const bases = new Set();
// What agenthost sends, and what its tests send to the emulator by hand; an SDK's own ways are its makers' business.
const isOurs = x => x.from !== 'emulator' || /^(agenthost\/|curl\/|Python-urllib|$)/.test(x.headers['user-agent'] || '');

function check(x) {
  const found = x.service && find(x.service, x.method, x.path);
  if (!found) {
    if (x.service) problem(`${x.service} ${x.method} ${x.path.replace(/[0-9a-f]{8}-[0-9a-f-]{27}|(?<=\/)\d+(?=\/|$)/g, '{}')}`, 'no such operation', x);
    return;
  }
  const { op, values } = found, gateway = x.answerHeaders && Object.keys(x.answerHeaders).some(h => h.startsWith('x-litellm-'));
  const where = `${op.service}${gateway ? '+gateway' : ''}${x.from === 'emulator' ? '' : ` (${x.from})`} ${op.id}`;
  seen.set(op.id, op);
  bases.add(op.id);
  // What the emulator refuses may be as wrong as a test wants it; what it believes, or a case shows, may not.
  if (isOurs(x) && (x.from !== 'emulator' || x.status < 400)) {
    checkParams(op, x, values, `${where} request`);
    checkBody(op, x, `${where} request`);
  }
  if (x.from === 'emulator' && !x.trouble && x.answer) checkAnswer(op, x, `${where} ${x.status}`);
}

// A webhook's body, against the event of that name.
function checkWebhook(event) {
  const op = documents.scalekit.webhooks?.[event.type]?.post ?? documents.scalekit.webhooks?.[event.type.split('.')[1]]?.post;
  const schema = op?.requestBody?.content?.['application/json']?.schema;
  if (!schema) return problem('scalekit webhook', `no event ${event.type}`, event);
  hold(schemas.validator(schema, 'scalekit', 'answer', `webhook ${event.type}`), event, `scalekit webhook ${event.type}`, event);
}

const cases = readCases(path.join(project, 'tests/cases'));
for (const x of [...log.exchanges, ...cases]) check(x);
for (const event of log.webhooks) checkWebhook(event);

// --- the verdict ---------------------------------------------------------------------------------------------

let number = 0, failed = 0;
function say(ok, text, ...more) {
  number++;
  if (!ok) failed++;
  console.log(`${ok ? 'ok' : 'not ok'} ${number} - ${text}${more.map(m => `\n#   ${m}`).join('')}`);
}

const rules = differences.map(d => ({ ...d, pattern: new RegExp(d.what), used: 0 }));
const unexplained = [];
for (const [key, { count, sample }] of problems) {
  const rule = rules.find(r => r.pattern.test(key));
  if (rule) rule.used += count;
  else unexplained.push(`${key} (${count} times; ${sample.from ?? ''} ${sample.method ?? ''} ${sample.path ?? ''} ${sample.headers?.['user-agent'] ?? ''})`);
}
say(unexplained.length === 0, `${log.exchanges.length} exchanges of ${log.files} emulators, ${cases.length} requests of cases, ${log.webhooks.length} webhooks are as the documents say`, ...unexplained.sort());

const bitten = mutate(schemas);
say(bitten.missed.length === 0, `${bitten.tried} mutated values of ${bitten.schemas} schemas are refused`, ...bitten.missed);
for (const line of bitten.toothless) console.log(`# takes anything: ${line}`);

if (!partial) {
  const idle = rules.filter(r => r.used === 0).map(r => `${r.what}: ${r.why}`);
  say(idle.length === 0, `each of ${rules.length} known differences was met`, ...idle);
}
// Rows of agenthost's table that it never sent, paths of the emulator that nobody asked for.
const sent = [...cases, ...log.exchanges.filter(x => /^agenthost\//.test(x.headers['x-sdk-version'] || ''))];
const unsent = readRows(path.join(project, 'src/skrows.c')).filter(row => {
  const match = row.path === '/proxy' ? p => p.startsWith('/proxy/') : matcher(row.path);
  return !sent.some(x => (x.method === row.method || row.path === '/proxy') && match(x.path));
});
const plain = p => p.replace(/^(\/(api\/v1|api|v1))+(?=\/)/, ''); // several spellings of one path
const asked = log.exchanges.map(x => ({ method: x.method, path: plain(x.path) }));
const unasked = [...log.routes].filter(route => {
  const [method, template] = route.split(' '), at = plain(template);
  const match = at.includes('*}') ? p => p.startsWith(at.split('{')[0]) : matcher(at);
  return !asked.some(x => x.method === method && match(x.path));
});
if (!partial) {
  say(unsent.length === 0, 'agenthost sent each call of its table', ...unsent.map(row => `${row.name}: ${row.method} ${row.path}`));
  say(unasked.length === 0, `each of ${log.routes.size} paths of the emulator was asked for`, ...unasked);
}
const byDoc = {};
for (const op of operations) (byDoc[op.doc] ||= []).push(op.id);
for (const [doc, ids] of Object.entries(byDoc)) console.log(`# ${doc}: ${ids.filter(id => bases.has(id)).length} of ${ids.length} operations were exercised`);
if (tooLong) console.log(`# ${tooLong} requests were too long to be kept: their bodies were not looked at`);
console.log(`1..${number}`);
process.exit(failed ? 1 : 0);
