// Shows that each schema bites: a value that it took is changed in one place, and must then be refused. Called by
// openapi.mjs when all was seen.
const isObject = v => v !== null && typeof v === 'object' && !Array.isArray(v);

// Values that differ from `value` in one place, the outermost first: another type, a member too many, a member
// less, a text that is none of a list or format.
function* mutants(value, rebuild = v => v, depth = 0) {
  yield rebuild(isObject(value) ? [value] : Array.isArray(value) ? { list: value } : typeof value === 'string' ? { text: value } : `${value}`);
  if (value === null || depth > 6) return;
  if (isObject(value)) {
    yield rebuild({ ...value, agenthost_planted_member: 1 });
    for (const name of Object.keys(value)) {
      const { [name]: gone, ...rest } = value;
      yield rebuild(rest);
      yield* mutants(gone, v => rebuild({ ...value, [name]: v }), depth + 1);
    }
  } else if (Array.isArray(value)) {
    if (value.length > 0) yield* mutants(value[0], v => rebuild([v, ...value.slice(1)]), depth + 1);
  } else if (typeof value === 'string') yield rebuild('agenthost planted text');
}

// A schema that says nothing cannot refuse anything.
const isToothless = schema => Object.keys(schema ?? {}).every(k => ['description', 'title', 'example', 'examples', 'default'].includes(k));

export function mutate(schemas) {
  const out = { tried: 0, schemas: 0, missed: [], toothless: [] };
  for (const v of schemas.cache.values()) {
    if (v.good === undefined) continue;
    if (isToothless(v.schema)) {
      out.toothless.push(`${v.doc} ${v.way} ${v.label}`);
      continue;
    }
    let tried = 0, refused = 0;
    for (const mutant of mutants(v.good)) {
      tried++;
      if (!v.check(mutant)) refused++;
      if (refused >= 3 || tried >= 60) break;
    }
    out.schemas++;
    out.tried += refused;
    if (refused === 0) out.missed.push(`${v.doc} ${v.way} ${v.label}: none of ${tried} mutations was refused`);
  }
  return out;
}
