// Makes a validator of a document's schema. Called by openapi.mjs and openapi_mutate.mjs; knows no service.
//
// Documents say little about members they do not name, so a misspelt one would pass. Here an object that names its
// members holds no others, unless the document says that it may ("closed"). `$ref`s lead to a closed copy in one
// direction ('request' leaves out what is readOnly, 'answer' what is writeOnly), and inside allOf to an open copy.
import Ajv2020 from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';

const REF = '#/components/schemas/';
const isObject = v => v !== null && typeof v === 'object' && !Array.isArray(v);
const mapValues = (object, f) => Object.fromEntries(Object.entries(object).map(([k, v]) => [k, f(v, k)]));

export class Schemas {
  constructor(documents) {
    this.documents = documents;
    this.ajv = new Ajv2020({ strict: false, allErrors: true, verbose: true, validateFormats: true, unicodeRegExp: false });
    addFormats(this.ajv);
    for (const name of ['float64', 'uint64', 'unixtime', 'unix-time']) this.ajv.addFormat(name, true);
    this.cache = new Map();
    this.added = new Set();
    this.branches = new Map();
  }

  close(schema, doc, way, open = false) {
    const all = { doc, way };
    if (!isObject(schema)) return schema;
    const s = { ...schema }, again = (v, o) => this.close(v, doc, way, o);
    for (const word of ['example', 'examples', 'default', 'discriminator', 'xml', 'externalDocs', '$recursiveAnchor']) delete s[word];
    if (s.$recursiveRef) return {}; // a whole document of its own: nothing of ours uses it
    if (s.$ref) s.$ref = this.refer(s.$ref, all, open);
    const hidden = way === 'request' ? 'readOnly' : 'writeOnly';
    if (s.properties) {
      s.properties = Object.fromEntries(Object.entries(s.properties).filter(([, v]) => !v?.[hidden]).map(([k, v]) => [k, again(v, false)]));
      if (s.required) s.required = s.required.filter(name => !schema.properties[name]?.[hidden]);
    }
    for (const word of ['items', 'additionalProperties', 'contains']) if (isObject(s[word])) s[word] = again(s[word], false);
    if (s.patternProperties) s.patternProperties = mapValues(s.patternProperties, v => again(v, false));
    if (s.prefixItems) s.prefixItems = s.prefixItems.map(v => again(v, false));
    const inner = open || Boolean(s.properties) || Boolean(s.allOf);
    if (s.allOf) s.allOf = s.allOf.map(v => again(v, true));
    for (const word of ['anyOf', 'oneOf']) if (s[word]) s[word] = s[word].map(v => again(v, inner));
    const names = s.properties || s.allOf, says = s.additionalProperties !== undefined || s.unevaluatedProperties !== undefined;
    if (!open && names && !says) s.unevaluatedProperties = false;
    if (open && !says && s.type === 'object' && !names && !s.anyOf && !s.oneOf && !s.$ref) s.additionalProperties = true;
    const { nullable, ...rest } = s;
    return nullable ? { anyOf: [rest, { type: 'null' }] } : rest;
  }

  refer(ref, { doc, way }, open) {
    if (!ref.startsWith(REF)) return ref;
    const name = decodeURIComponent(ref.slice(REF.length)), id = `ah:${doc}:${way}${open ? ':open' : ''}:${name}`;
    if (!this.added.has(id)) {
      this.added.add(id); // before its inside: schemas are recursive
      const found = this.documents[doc].components.schemas[name] ?? {};
      this.ajv.addSchema(this.close(found, doc, way, open), id);
    }
    return id;
  }

  // The validator of one schema; `label` names it in reports.
  validator(schema, doc, way, label) {
    const key = `${doc} ${way} ${label}`;
    if (!this.cache.has(key)) this.cache.set(key, { check: this.ajv.compile(this.close(schema, doc, way)), schema, doc, way, label, seen: 0 });
    return this.cache.get(key);
  }

  // The errors of a failed check. Of a union only those of the branch that comes nearest: the one whose constants fit,
  // then the one with the fewest errors.
  nearest(errors, under = '') {
    const unions = errors.filter(e => (e.keyword === 'oneOf' || e.keyword === 'anyOf') && !e.params.passingSchemas)
      .sort((a, b) => a.instancePath.length - b.instancePath.length);
    const outer = unions.filter((u, i) => !unions.slice(0, i).some(o => u.instancePath.startsWith(o.instancePath)));
    const below = e => outer.some(u => e.instancePath.startsWith(u.instancePath));
    const rest = errors.filter(e => !below(e)).map(e => ({ ...e, instancePath: under + e.instancePath }));
    return rest.concat(...outer.map(u => this.branch(u).map(e => ({ ...e, instancePath: under + e.instancePath }))));
  }

  branch(union) {
    let best;
    for (const schema of union.schema) {
      if (!this.branches.has(schema)) this.branches.set(schema, this.ajv.compile(schema));
      const check = this.branches.get(schema);
      check(union.data);
      const found = this.nearest(check.errors || [], union.instancePath), wrong = found.filter(e => e.keyword === 'const' || e.keyword === 'enum').length;
      const score = [found.some(e => e.keyword === 'type' && e.instancePath === union.instancePath), wrong, found.length];
      if (!best || score.map((v, i) => v - best.score[i]).find(d => d !== 0) < 0) best = { score, found };
    }
    return best.found;
  }

  // [] or sentences.
  say(validator, value) {
    if (validator.check(value)) return [];
    const lines = new Set();
    for (const e of this.nearest(validator.check.errors)) {
      const detail = e.params?.unevaluatedProperty ?? e.params?.additionalProperty ?? e.params?.missingProperty ?? e.params?.format
        ?? (e.keyword === 'enum' || e.keyword === 'const' ? JSON.stringify(e.data) : '');
      lines.add(`${e.instancePath.replace(/\/\d+(?=\/|$)/g, '/*')} ${e.message}${detail !== '' ? ` (${detail})` : ''}`.trim());
    }
    return [...lines];
  }
}
