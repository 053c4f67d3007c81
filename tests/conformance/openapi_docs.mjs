// The services' own documents as a list of operations. Called by openapi.mjs; reads files, checks nothing.
//
// An operation: { doc, service, id, method, path, match(path) -> params or null, params, body, answers, rank }
// where body is { type: schema } and answers { status: { type: schema } }. Schemas are JSON Schema 2020-12; their
// `$ref`s stay inside the document that `doc` names.
import fs from 'node:fs';
import path from 'node:path';

const VERBS = ['get', 'put', 'post', 'delete', 'patch'];

// '/a/{b}:c' -> a function that takes a path and gives { b }, or null.
export function matcher(template) {
  const names = [];
  const source = template.replace(/[.*+?^$()|[\]\\]/g, '\\$&').replace(/\{([^}]+)\}/g, (_, name) => {
    names.push(name);
    return '([^/:]+)';
  });
  const pattern = new RegExp(`^${source}$`);
  return given => {
    const found = pattern.exec(given);
    return found && Object.fromEntries(names.map((name, i) => [name, decodeURIComponent(found[i + 1])]));
  };
}

function resolve(document, value) {
  while (value?.$ref?.startsWith('#/')) {
    value = value.$ref.slice(2).split('/').reduce((at, key) => at?.[key.replace(/~1/g, '/').replace(/~0/g, '~')], document);
  }
  return value;
}

const schemasOf = content => Object.fromEntries(Object.entries(content || {}).map(([type, v]) => [type, v.schema ?? {}]));

function operation(doc, service, method, template, rest) {
  return { doc, service, id: `${method} ${template}`, method, path: template, match: matcher(template), rank: template.split('{').length, ...rest };
}

function fromOpenApi(doc, service, document, prefix = '') {
  const list = [];
  for (const [template, item] of Object.entries(document.paths)) {
    for (const verb of VERBS.filter(v => item[v])) {
      const op = item[verb], body = resolve(document, op.requestBody);
      const params = [...(item.parameters || []), ...(op.parameters || [])].map(p => resolve(document, p));
      list.push(operation(doc, service, verb.toUpperCase(), prefix + template, {
        params, body: body && schemasOf(body.content), bodyRequired: body?.required,
        answers: Object.fromEntries(Object.entries(op.responses || {}).map(([status, r]) => [status, schemasOf(resolve(document, r).content)])),
      }));
    }
  }
  return list;
}

// --- protobuf descriptors: what the OpenAPI document of Scalekit leaves out --------------------------------------

const WELL_KNOWN = {
  string: { type: 'string' }, bytes: { type: 'string', format: 'byte' }, bool: { type: 'boolean' },
  int32: { type: 'integer' }, uint32: { type: 'integer', minimum: 0 }, double: { type: 'number' }, float: { type: 'number' },
  int64: { type: 'string', pattern: '^-?[0-9]+$' }, uint64: { type: 'string', pattern: '^[0-9]+$' }, // 64 bits are texts in JSON
  'google.protobuf.Timestamp': { type: 'string', format: 'date-time' },
  'google.protobuf.Duration': { type: 'string', pattern: '^-?[0-9]+(\\.[0-9]+)?s$' },
  'google.protobuf.Struct': { type: 'object' }, 'google.protobuf.ListValue': { type: 'array' }, 'google.protobuf.Value': {},
  'google.protobuf.StringValue': { type: ['string', 'null'] }, 'google.protobuf.BoolValue': { type: ['boolean', 'null'] },
  'google.protobuf.UInt32Value': { type: ['integer', 'null'], minimum: 0 }, Empty: { type: 'object', additionalProperties: false },
};

function limited(schema, rules = {}) {
  const s = { ...schema }, text = rules.string, list = rules.repeated, number = rules.uint32;
  if (text?.min_len) s.minLength = Number(text.min_len);
  if (text?.max_len) s.maxLength = Number(text.max_len);
  if (text?.pattern || text?.prefix) s.pattern = text.pattern || `^${text.prefix}`;
  if (text?.in) s.enum = [].concat(text.in);
  if (list?.max_items) s.maxItems = Number(list.max_items);
  if (list?.min_items) s.minItems = Number(list.min_items);
  if (number?.lte) s.maximum = Number(number.lte);
  if (number?.lt) s.exclusiveMaximum = Number(number.lt);
  if (number?.gte) s.minimum = Number(number.gte);
  return s;
}

function fieldSchema(file, field) {
  const map = /^map<string,(.+)>$/.exec(field.type);
  const one = map ? { type: 'object', additionalProperties: fieldSchema(file, { type: map[1] }) }
    : WELL_KNOWN[field.type] || { $ref: `#/components/schemas/${file}.${field.type.replace(/^\./, '')}` };
  const item = field.repeated || map ? one : limited(one, field.validate);
  return field.repeated ? limited({ type: 'array', items: item }, field.validate) : item;
}

function messageSchema(file, fields) {
  const groups = {};
  for (const f of fields) if (f.oneof) (groups[f.oneof] ||= []).push(f.name);
  const needs = name => ({ required: [name] });
  const oneOf = Object.values(groups).map(names => ({ oneOf: [...names.map(needs), { not: { anyOf: names.map(needs) } }] }));
  return { type: 'object', properties: Object.fromEntries(fields.map(f => [f.name, fieldSchema(file, f)])), additionalProperties: false,
    required: fields.filter(f => f.validate?.required).map(f => f.name), ...(oneOf.length > 0 && { allOf: oneOf }) };
}

// Query parameters of a message: nested messages are dotted.
function queryOf(file, proto, fields, taken, prefix = '') {
  return fields.filter(f => !taken.has(f.name)).flatMap(f => {
    const nested = proto.messages[f.type];
    if (nested && !f.repeated) return queryOf(file, proto, nested, new Set(), `${prefix}${f.name}.`);
    return [{ in: 'query', name: prefix + f.name, required: Boolean(f.validate?.required), schema: fieldSchema(file, f) }];
  });
}

function fromProto(doc, service, files) {
  const document = { components: { schemas: {} } }, list = [];
  for (const [name, proto] of Object.entries(files)) {
    if (!proto.services) continue;
    const file = path.basename(name, '.proto');
    for (const [message, fields] of Object.entries(proto.messages)) document.components.schemas[`${file}.${message}`] = messageSchema(file, fields);
    for (const [kind, values] of Object.entries(proto.enums || {})) document.components.schemas[`${file}.${kind}`] = { enum: Object.keys(values) };
    for (const rpc of Object.values(proto.services).flatMap(Object.values)) {
      for (const binding of [rpc.http, ...(rpc.http?.additional_bindings || [])].filter(Boolean)) {
        const verb = VERBS.find(v => binding[v]), template = binding[verb];
        if (!template) continue;
        const inPath = new Set([...template.matchAll(/\{([^}]+)\}/g)].map(m => m[1]));
        const fields = proto.messages[rpc.request] || [];
        const whole = fields.filter(f => !inPath.has(f.name)), part = fields.find(f => f.name === binding.body);
        list.push(operation(doc, service, verb.toUpperCase(), template, {
          params: [...fields.filter(f => inPath.has(f.name)).map(f => ({ in: 'path', name: f.name, required: true, schema: fieldSchema(file, f) })),
            ...(binding.body === '*' ? [] : queryOf(file, proto, fields, new Set([...inPath, binding.body])))],
          body: binding.body && { 'application/json': part ? fieldSchema(file, { ...part, validate: undefined }) : messageSchema(file, whole) },
          answers: { '2XX': { 'application/json': WELL_KNOWN[rpc.response] || { $ref: `#/components/schemas/${file}.${rpc.response}` } } },
        }));
      }
    }
  }
  return [document, list];
}

// { documents: { name: document }, operations: [...] } of the folder that holds the documents.
export async function readDocuments(folder) {
  const { default: yaml } = await import('yaml');
  const json = name => JSON.parse(fs.readFileSync(path.join(folder, name), 'utf8'));
  const scalekit = json('scalekit-openapi.json'), langsmith = json('langsmith-openapi.json');
  const openai = yaml.parse(fs.readFileSync(path.join(folder, 'openai-openapi.yaml'), 'utf8'), { maxAliasCount: -1 });
  const [proto, rpcs] = fromProto('proto', 'scalekit', json('scalekit-proto-http.json'));
  const first = fromOpenApi('scalekit', 'scalekit', scalekit), known = new Set(first.map(op => op.id.replace(/\{[^}]+\}/g, '{}')));
  const operations = [...first, ...rpcs.filter(op => !known.has(op.id.replace(/\{[^}]+\}/g, '{}'))),
    ...fromOpenApi('openai', 'openai', openai), ...fromOpenApi('langsmith', 'langsmith', langsmith)];
  return { documents: { scalekit, proto, openai, langsmith }, operations: operations.sort((a, b) => a.rank - b.rank) };
}
