// Starts an emulator process, collects TAP-like results. Used by run.mjs; holds no test.
import { spawn } from 'node:child_process';
import { isDeepStrictEqual } from 'node:util';
import readline from 'node:readline';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));

// The program: $AGENTHOST or build/agenthost. Resolves to { url, env, stop } once it says where it listens.
export function startEmulator(args = []) {
  const program = process.env.AGENTHOST || path.join(here, '../../build/agenthost');
  const child = spawn(program, ['emulate', '--port', '0', ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  const env = {};
  return new Promise((resolve, reject) => {
    const fail = setTimeout(() => { child.kill(); reject(new Error(`${program}: no "listening" line within 15 s`)); }, 15000);
    child.once('error', reject);
    child.once('exit', code => reject(new Error(`${program} ended with ${code}`)));
    let url, done;
    readline.createInterface({ input: child.stdout }).on('line', line => {
      url = /^listening (http:\S+)/.exec(line)?.[1] || url;
      const set = /^export ([A-Z_]+)=(['"]?)(.*)\2$/.exec(line);
      if (set) env[set[1]] = set[3];
      const ready = ['SCALEKIT_ENVIRONMENT_URL', 'SCALEKIT_CLIENT_ID', 'SCALEKIT_CLIENT_SECRET', 'OPENAI_BASE_URL', 'OPENAI_API_KEY',
        'LANGSMITH_ENDPOINT', 'LANGSMITH_API_KEY'].every(name => env[name]);
      if (url && ready && !done) {
        done = true;
        clearTimeout(fail);
        resolve({ url, env, stop: () => new Promise(end => { child.removeAllListeners('exit'); child.once('exit', end); child.kill(); }) });
      }
    });
  });
}

let count = 0, failures = 0;

export async function test(name, body) {
  count++;
  try {
    await body();
    console.log(`ok ${count} ${name}`);
  } catch (error) {
    failures++;
    console.log(`not ok ${count} ${name}\n  ${String(error.stack || error).replace(/\n/g, '\n  ')}`);
  }
}

export function eq(got, want, what = '') {
  if (!isDeepStrictEqual(got, want)) throw new Error(`${what} got ${JSON.stringify(got)}\nwant ${JSON.stringify(want)}`);
}

export function match(text, pattern) {
  if (!pattern.test(text)) throw new Error(`${JSON.stringify(text)} does not match ${pattern}`);
}

// The error that `call` ends with; fails when it ends well.
export async function errorOf(call) {
  let value;
  try { value = await call(); } catch (error) { return error; }
  throw new Error(`expected an error, got ${JSON.stringify(value)?.slice(0, 300)}`);
}

export async function admin(url, method, what, body) {
  const res = await fetch(`${url}/__emulator/${what}`, { method, body: body && JSON.stringify(body) });
  if (!res.ok) throw new Error(`${method} ${what}: ${res.status} ${await res.text()}`);
  return res.json();
}

// A new MCP server of the emulator, with the tools of these connections: { url, token }.
export async function mcpServer({ url, env }, name, connections) {
  const { access_token: access } = await (await fetch(`${url}/oauth/token`, { method: 'POST', body: new URLSearchParams({
    grant_type: 'client_credentials', client_id: env.SCALEKIT_CLIENT_ID, client_secret: env.SCALEKIT_CLIENT_SECRET }) })).json();
  const post = async (path, body) => (await fetch(`${url}/api/v1/mcp/configs${path}`, { method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${access}` }, body: JSON.stringify(body) })).json();
  const { config } = await post('', { name, connection_tool_mappings: connections.map(connection_name => ({ connection_name })) });
  await post(`/${config.id}/connected_accounts`, { identifier: name, include_auth_link: true });
  const { token } = await post(`/${config.id}/tokens`, { identifier: name });
  return { url: config.mcp_server_url, token };
}

export function finish() {
  console.log(`1..${count}`);
  console.log(`# conformance: ${count - failures} of ${count} passed`);
  return failures ? 1 : 0;
}
