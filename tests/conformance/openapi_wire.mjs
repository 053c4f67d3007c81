// What was said: the lines that emulators wrote (AGENTHOST_WIRE_LOG), and the requests that tests/cases expect byte
// for byte. Called by openapi.mjs. Each is { from, service, method, path, query, headers, body, status, answer, ... };
// body and answer are Buffers, or null when they were too long to keep.
import fs from 'node:fs';
import path from 'node:path';
import zlib from 'node:zlib';

const bytesOf = kept => kept.text !== undefined ? Buffer.from(kept.text) : kept.base64 !== undefined ? Buffer.from(kept.base64, 'base64') : null;

function decoded(body, encoding) {
  if (!body || !encoding) return body;
  try {
    if (encoding === 'gzip') return zlib.gunzipSync(body);
    if (encoding === 'zstd') return zlib.zstdDecompressSync(body);
  } catch { /* unpacked already, or a test's own broken body */ }
  return body;
}

// { exchanges, webhooks, routes, files }
export function readLogs(folder) {
  const out = { exchanges: [], webhooks: [], routes: new Set(), files: 0 };
  for (const name of fs.existsSync(folder) ? fs.readdirSync(folder).sort() : []) {
    if (!name.endsWith('.jsonl')) continue;
    out.files++;
    const lines = fs.readFileSync(path.join(folder, name), 'utf8').split('\n');
    for (const text of lines) {
      let line;
      try { line = JSON.parse(text); } catch { continue; } // the last line of a process that was killed
      if (line.routes) line.routes.forEach(route => out.routes.add(route));
      else if (line.webhook) out.webhooks.push(JSON.parse(line.webhook));
      else {
        const headers = line.request_headers;
        out.exchanges.push({ ...line, from: 'emulator', headers, body: decoded(bytesOf(line.request), headers['content-encoding']),
          answerHeaders: Object.fromEntries(Object.entries(line.headers || {}).map(([k, v]) => [k.toLowerCase(), v])), answer: bytesOf(line.answer) });
      }
    }
  }
  return out;
}

const unescape = text => text.replace(/\\(\\|r|n|t|0|\*|\$|x[0-9a-fA-F]{2})/g, (_, c) =>
  ({ r: '\r', n: '\n', t: '\t', 0: '\0' })[c] ?? (c[0] === 'x' ? String.fromCharCode(parseInt(c.slice(1), 16)) : c));

// The requests of one case file.
function requestsOf(text, service, name) {
  const list = [];
  let current = null, inBody = false;
  const end = () => {
    if (current && !current.partial) list.push(current);
    current = null;
  };
  for (const line of text.split('\n')) {
    const bytes = /^>(\| )?(.*)$/.exec(line);
    if (!bytes) {
      end();
      continue;
    }
    const raw = bytes[1] !== undefined, said = unescape(raw ? bytes[2] : bytes[2].replace(/^ /, ''));
    const first = !current && /^([A-Z]+) (\S+) HTTP\/1\.1$/.exec(said);
    if (first) {
      const [target, query = ''] = first[2].split('?');
      current = { from: name, service, method: first[1], path: target, query, headers: {}, parts: [] };
      inBody = false;
    } else if (!current) continue;
    else if (said === '...') current.partial = true;
    else if (inBody || raw) current.parts.push(raw ? said : `${said}\r\n`);
    else if (said === '') inBody = true;
    else current.headers[said.split(':')[0].toLowerCase()] = said.replace(/^[^:]*: ?/, '');
  }
  end();
  return list.map(r => ({ ...r, body: Buffer.from(r.parts.join('')), ours: true }));
}

export function readCases(folder) {
  return ['scalekit', 'openai', 'langsmith'].flatMap(service => {
    const at = path.join(folder, service);
    return fs.readdirSync(at).filter(n => n.endsWith('.case')).flatMap(n => requestsOf(fs.readFileSync(path.join(at, n), 'utf8'), service, `${service}/${n}`));
  });
}

// The calls of a table in C: [{ name, method, path }], with its #defines put in.
export function readRows(file) {
  const text = fs.readFileSync(file, 'utf8');
  const words = Object.fromEntries([...text.matchAll(/^#define (\w+) ("[^"\n]*")$/gm)].map(m => [m[1], m[2]]));
  return [...text.matchAll(/^    \{"(\w+)", "([A-Z]+)", ((?:"[^"]*"|[A-Z]+)(?: "[^"]*")?),/gm)].map(m => ({ name: m[1], method: m[2],
    path: m[3].replace(/[A-Z]+(?![^"]*" ?$|[a-z])/, w => words[w] ?? w).replace(/" ?"|"/g, '').replace(/\?.*/, '') }));
}

// The parts of a multipart body: [{ name, type, bytes }].
export function partsOf(body, contentType) {
  const boundary = /boundary="?([^";]+)"?/.exec(contentType)?.[1];
  const text = body.toString('latin1'), parts = [];
  for (const piece of text.split(`--${boundary}`).slice(1, -1)) {
    const cut = piece.indexOf('\r\n\r\n'), head = piece.slice(0, cut);
    parts.push({ name: /name="([^"]*)"/.exec(head)?.[1] ?? '', type: /content-type: *([^;\r\n]+)/i.exec(head)?.[1] ?? '',
      bytes: Buffer.from(piece.slice(cut + 4, -2), 'latin1') });
  }
  return parts;
}
