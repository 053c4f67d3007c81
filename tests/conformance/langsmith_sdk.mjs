// npm langsmith against the emulator: what it uploads is read back; each refusal's status and text.
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { Client, RunTree } from 'langsmith';
import { traceable } from 'langsmith/traceable';
import { wrapOpenAI } from 'langsmith/wrappers/openai';
import { ChatOpenAI } from '@langchain/openai';
import { LangChainTracer } from '@langchain/core/tracers/tracer_langchain';
import OpenAI from 'openai';
import { admin, eq, errorOf, match, test } from './harness.mjs';

const ORDER = (id, at = '20261122T100000000120Z') => at + id;

export async function run({ url, env }) {
  const config = { apiUrl: env.LANGSMITH_ENDPOINT, apiKey: env.LANGSMITH_API_KEY };
  const client = new Client(config);
  const list = async (project, more = {}) => {
    const out = [];
    for await (const r of client.listRuns({ projectName: project, ...more })) out.push(r);
    return out.sort((a, b) => (a.dotted_order < b.dotted_order ? -1 : 1));
  };
  const post = (path, body, headers = {}) => fetch(url + path, { method: 'POST', body: typeof body === 'string' ? body : JSON.stringify(body),
    headers: { 'x-api-key': env.LANGSMITH_API_KEY, 'content-type': 'application/json', ...headers } });

  await test('langsmith: traceable runs come back as a tree with tokens and cost', async () => {
    const openai = wrapOpenAI(new OpenAI({ apiKey: env.OPENAI_API_KEY, baseURL: env.OPENAI_BASE_URL }), { client, tracingEnabled: true });
    let usage;
    const lookup = traceable(async ({ city }) => ({ city, degrees: 21 }), { name: 'lookup', run_type: 'tool', client, tracingEnabled: true });
    const agent = traceable(async input => {
      await lookup({ city: 'Lisbon' });
      const answer = await openai.chat.completions.create({ model: 'gpt-4o', messages: [{ role: 'user', content: input.q }] });
      usage = answer.usage;
      return { text: answer.choices[0].message.content };
    }, { name: 'agent', project_name: 'tree', client, tracingEnabled: true, tags: ['t1'], metadata: { thread_id: 'th-1' } });
    const result = await agent({ q: 'hello' });
    await client.awaitPendingTraceBatches();
    const runs = await list('tree');
    eq(runs.map(r => [r.name, r.run_type, r.status]), [['agent', 'chain', 'success'], ['lookup', 'tool', 'success'], ['ChatOpenAI', 'llm', 'success']]);
    const [root, inner, llm] = runs;
    eq(root.outputs, result);
    eq(root.inputs, { q: 'hello' });
    eq([root.parent_run_id, root.trace_id], [null, root.id]);
    eq([inner.parent_run_id, llm.parent_run_id], [root.id, root.id]);
    eq([llm.prompt_tokens, llm.completion_tokens, llm.total_tokens], [usage.prompt_tokens, usage.completion_tokens, usage.total_tokens]);
    eq([root.prompt_tokens, root.total_tokens], [usage.prompt_tokens, usage.total_tokens]);
    eq(inner.total_tokens, 0);
    eq(Number(root.total_cost).toFixed(9), ((usage.prompt_tokens * 2.5 + usage.completion_tokens * 10) / 1e6).toFixed(9));
    eq(root.tags, ['t1']);
    const read = await client.readRun(root.id);
    eq([read.id, read.name, read.status, read.thread_id], [root.id, 'agent', 'success', 'th-1']);
    eq([...read.child_run_ids].sort(), [inner.id, llm.id].sort());
    eq((await list('tree', { filter: 'eq(run_type, "llm")' })).map(r => r.id), [llm.id]);
    eq((await list('tree', { isRoot: true })).map(r => r.id), [root.id]);
    const project = await client.readProject({ projectName: 'tree' });
    eq(await client.getRunUrl({ run: root }), `http://localhost:3000/o/${project.tenant_id}/projects/p/${project.id}/r/${root.id}?poll=true`);
  });

  await test('langsmith: a body in chunks, without a length', async () => {
    const id = randomUUID(), dotted_order = ORDER(id);
    const bytes = Buffer.from(JSON.stringify({ post: [{ id, trace_id: id, dotted_order, name: 'chunked', run_type: 'chain' }] }));
    async function* pieces() { for (let i = 0; i < bytes.length; i += 7) yield bytes.subarray(i, i + 7); }
    const res = await fetch(`${url}/runs/batch`, { method: 'POST', duplex: 'half', body: ReadableStream.from(pieces()),
      headers: { 'x-api-key': env.LANGSMITH_API_KEY, 'content-type': 'application/json' } });
    eq(res.status, 202, await res.text());
    eq((await client.readRun(id)).name, 'chunked');
  });

  await test('langsmith: a trace goes on between processes, both ways', async () => {
    const parent = new RunTree({ name: 'node', run_type: 'chain', client, project_name: 'across', tags: ['a', 'b c'], tracingEnabled: true,
      extra: { metadata: { thread_id: 'th-ü', n: 1 } } });
    await parent.postRun();
    const script = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'agenthost-')), 'callee.lua');
    fs.writeFileSync(script, `
      local trace, json = require "host.trace", require "host.json"
      local headers = json.decode(require("host.script").args()[1])
      return trace.run({ name = "lua", headers = headers, tags = { "own" } }, function()
        return json.encode { headers = trace.headers(), here = trace.current() }
      end)`);
    const { stdout } = await promisify(execFile)(process.env.AGENTHOST || '../../build/agenthost', ['run', '-q', script, JSON.stringify(parent.toHeaders())],
      { env: { ...process.env, ...env, LANGSMITH_TRACING: 'true', AGENTHOST_HOME: path.dirname(script) } });
    const { headers, here } = JSON.parse(stdout);
    const child = RunTree.fromHeaders(headers, { client, tracingEnabled: true });
    eq([child.trace_id, child.id, child.dotted_order], [parent.trace_id, here.id, here.dotted_order]);
    const last = child.createChild({ name: 'node again', run_type: 'tool' });
    eq([last.project_name, last.extra.metadata.thread_id, last.extra.metadata.n], ['across', 'th-ü', 1]);
    eq([...child.tags].sort(), ['a', 'b c', 'own']);
    await last.postRun();
    await last.end({ ok: true });
    await last.patchRun();
    await parent.end({});
    await parent.patchRun();
    await client.awaitPendingTraceBatches();
    const runs = await list('across');
    eq(runs.map(r => [r.name, r.parent_run_id ?? null]), [['node', null], ['lua', parent.id], ['node again', here.id]]);
    eq(runs[1].extra.metadata.thread_id, 'th-ü');
    eq([...runs[1].tags].sort(), ['a', 'b c', 'own']);
  });

  // What agenthost does below headers that are given to it, with these variables.
  const callee = async (lua, args, more) => {
    const script = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'agenthost-')), 'callee.lua');
    fs.writeFileSync(script, lua);
    const { LANGSMITH_ENDPOINT, ...rest } = { ...process.env, ...env };
    await promisify(execFile)(process.env.AGENTHOST || '../../build/agenthost', ['run', '-q', '--flush', '20s', script, ...args],
      { env: { ...rest, LANGSMITH_TRACING: 'true', AGENTHOST_HOME: path.dirname(script), ...more } });
  };

  await test('langsmith: a copy\'s ids are those that the SDK makes in another process', async () => {
    const replicas = [{ primary: true }, { projectName: 'copied' }, {}].map(r => ({ ...r, ...config }));
    const parent = new RunTree({ name: 'node', run_type: 'chain', client, project_name: 'first', tracingEnabled: true, replicas });
    await parent.postRun();
    await callee(`
      local json = require "host.json"
      require("host.trace").run({ name = "lua", headers = json.decode(require("host.script").args()[1]) }, function() end)`,
    [JSON.stringify(parent.toHeaders())], {
      LANGSMITH_RUNS_ENDPOINTS: JSON.stringify(replicas.map(r => ({ api_url: r.apiUrl, api_key: r.apiKey, project_name: r.projectName, primary: r.primary }))) });
    await parent.end({});
    await parent.patchRun();
    await client.awaitPendingTraceBatches();
    const copied = await list('copied'), first = await list('first');
    eq(copied.map(r => r.name), ['node', 'lua', 'callee']);
    eq([copied[0].id === parent.id, copied[1].parent_run_id, copied[1].trace_id], [false, copied[0].id, copied[0].id]);
    eq(first.map(r => r.name).sort(), ['lua', 'lua', 'node', 'node']); // the third replica is in the run's own project, with other ids
    for (const r of first.filter(r => r.name === 'lua')) eq(first.some(p => p.name === 'node' && p.id === r.parent_run_id), true);
  });

  await test('langsmith: the same traces are sampled as by the SDK', async () => {
    const ids = Array.from({ length: 60 }, () => randomUUID());
    await callee(`
      for _, id in ipairs(require("host.script").args()) do
        require("host.trace").run({ name = id, project = "sampled", headers = { ["langsmith-trace"] = "20261122T100000000120Z" .. id } }, function() end)
      end`, ids, { LANGSMITH_ENDPOINT: config.apiUrl, LANGSMITH_TRACING_SAMPLING_RATE: '0.4' });
    const sampling = new Client({ ...config, tracingSamplingRate: 0.4 });
    eq((await list('sampled')).map(r => r.name).sort(), ids.filter(id => sampling._shouldSample(id)).sort());
  });

  await test('langsmith: a failing function is a run with an error', async () => {
    const boom = traceable(async () => { throw new Error('boom 7'); }, { name: 'boom', project_name: 'errors', client, tracingEnabled: true });
    await errorOf(() => boom('x'));
    await client.awaitPendingTraceBatches();
    const [r] = await list('errors', { error: true });
    eq([r.name, r.status], ['boom', 'error']);
    match(r.error, /boom 7/);
  });

  await test('langsmith: LangChain\'s tracer: model run with its own way of counting', async () => {
    const tracer = new LangChainTracer({ client: new Client(config), projectName: 'langchain' });
    const model = new ChatOpenAI({ model: 'gpt-4o', apiKey: env.OPENAI_API_KEY, configuration: { baseURL: env.OPENAI_BASE_URL } });
    const answer = await model.invoke('hello', { callbacks: [tracer] });
    await tracer.client.awaitPendingTraceBatches();
    const [r] = await list('langchain');
    eq([r.name, r.run_type, r.status, r.total_tokens], ['ChatOpenAI', 'llm', 'success', answer.usage_metadata.total_tokens]);
  });

  await test('langsmith: create and update by hand; pending in between', async () => {
    const tree = new RunTree({ name: 'by hand', run_type: 'chain', inputs: { a: 1 }, project_name: 'hand', client });
    await tree.postRun();
    await client.awaitPendingTraceBatches();
    eq((await client.readRun(tree.id)).status, 'pending');
    await tree.end({ b: 2 });
    await tree.patchRun();
    await client.awaitPendingTraceBatches();
    const r = await client.readRun(tree.id);
    eq([r.status, r.inputs, r.outputs], ['success', { a: 1 }, { b: 2 }]);
  });

  await test('langsmith: projects', async () => {
    const made = await client.createProject({ projectName: 'made', description: 'd' });
    eq((await client.readProject({ projectName: 'made' })).id, made.id);
    eq(await client.hasProject({ projectName: 'made' }), true);
    eq(await client.hasProject({ projectName: 'never' }), false);
    const again = await errorOf(() => new Client({ ...config, callerOptions: { maxRetries: 0 } }).createProject({ projectName: 'made' }));
    match(String(again), /409|already exists/i);
  });

  await test('langsmith: a run that is not there is 404', async () => {
    const quick = new Client({ ...config, callerOptions: { maxRetries: 0 } });
    const error = await errorOf(() => quick.readRun(randomUUID()));
    match(String(error), /404|not found/i);
  });

  const id = randomUUID(), other = randomUUID();
  const root = more => ({ id, trace_id: id, dotted_order: ORDER(id), name: 'n', run_type: 'chain', start_time: '2026-11-22T10:00:00.000120Z', session_name: 'raw', ...more });
  const refusals = [
    ['three digits', { post: [root({ dotted_order: ORDER(id, '20261122T100000000Z') })] }, 400, /^Bad request: invalid 'dotted_order': .*cannot parse "\.000" as "\.000000"/],
    ['a root of two parts', { post: [root({ dotted_order: `${ORDER(other)}.${ORDER(id)}`, trace_id: other })] }, 400, /dotted_order must contain a single part for root runs/],
    ['a child of one part', { post: [root({ parent_run_id: other })] }, 400, /dotted_order must contain at least two parts for child runs/],
    ['a foreign trace', { post: [root({ trace_id: other })] }, 400, /does not match first part of dotted_order/],
    ['a child before its parent', { post: [root({ trace_id: other, parent_run_id: other, dotted_order: `${ORDER(other)}.${ORDER(id, '20261122T095959000000Z')}` })] },
      400, /earlier than parent timestamp/],
    ['no UUID', { post: [root({ id: 'x' })] }, 422, /batch schema error post\.0\.id: Must validate one and only one schema \(oneOf\)/],
    ['a long name', { post: [root({ name: 'n'.repeat(129) })] }, 422, /post\.0\.name/],
    ['inputs that are a list', { post: [root({ inputs: [1] })] }, 422, /post\.0\.inputs/],
    ['a project id that is none', { post: [root({ session_id: 'x' })] }, 422, /post\.0\.session_id: Must validate one and only one schema \(oneOf\)/],
    ['nothing', {}, 422, /post or patch/],
  ];
  for (const [name, body, status, text] of refusals) {
    await test(`langsmith refuses: ${name}`, async () => {
      const res = await post('/runs/batch', body);
      eq(res.status, status);
      match((await res.json()).error, text);
    });
  }

  await test('langsmith: a bad run refuses the good one beside it; a repeat is 409', async () => {
    eq((await post('/runs/batch', { post: [root(), { ...root({ id: other }), dotted_order: 'x' }] })).status, 400);
    eq((await fetch(`${url}/runs/${id}`, { headers: { 'x-api-key': env.LANGSMITH_API_KEY } })).status, 404);
    eq((await post('/api/v1/runs/batch', { post: [root()] })).status, 202);
    const again = await post('/runs/batch', { post: [root()] });
    eq([again.status, await again.json()], [409, { error: 'Conflict: payload already received: payloads already received' }]);
  });

  await test('langsmith refuses: keys and cut bodies', async () => {
    const wrong = await post('/runs/batch', {}, { 'x-api-key': 'lsv2_pt_wrong' });
    eq([wrong.status, await wrong.text()], [403, '{"error":"Forbidden"}\n']);
    const cut = await post('/runs/multipart', `--B\r\nContent-Disposition: form-data; name="post.${other}"\r\n`, { 'content-type': 'multipart/form-data; boundary=B' });
    eq(cut.status, 422);
    match((await cut.json()).error, /error reading multipart data: multipart: NextPart: EOF/);
  });

  await test('langsmith: projects are listed, read and removed; stats and shares', async () => {
    const one = traceable(async () => 'x', { name: 'shared', project_name: 'projects', client, tracingEnabled: true });
    await one();
    await client.awaitPendingTraceBatches();
    const names = [];
    for await (const p of client.listProjects()) names.push(p.name);
    eq(names.includes('projects'), true);
    const project = await client.readProject({ projectName: 'projects', includeStats: true });
    eq(project.run_count, 1);
    const [r] = await list('projects');
    const link = await client.shareRun(r.id);
    match(link, /public/);
    eq(await client.readRunSharedLink(r.id), link);
    await client.unshareRun(r.id);
    eq(await client.readRunSharedLink(r.id), undefined);
    const stats = await client.getRunStats({ projectNames: ['projects'] });
    eq([stats.run_count, stats.error_rate], [1, 0]);
    await client.createFeedback(r.id, 'good', { score: 1, sessionId: project.id });
    eq((await client.readRun(r.id)).feedback_stats.good.avg, 1);
    await client.deleteProject({ projectName: 'projects' });
    eq(await client.hasProject({ projectName: 'projects' }), false);
  });

  await test('langsmith: the second generation of reading gives the same runs', async () => {
    const inner = traceable(async () => 'i', { name: 'inner', run_type: 'tool', client, tracingEnabled: true });
    const outer = traceable(async () => inner(), { name: 'outer', project_name: 'second', client, tracingEnabled: true });
    await outer();
    await client.awaitPendingTraceBatches();
    const project = await client.readProject({ projectName: 'second' });
    const items = [];
    for await (const r of await client.runs.query({ project_ids: [project.id], selects: ['NAME', 'STATUS', 'RUN_TYPE', 'IS_ROOT'] })) items.push(r);
    eq(items.map(r => [r.name, r.status, r.run_type, r.is_root]).sort(), [['inner', 'SUCCESS', 'TOOL', false], ['outer', 'SUCCESS', 'CHAIN', true]]);
    const root = (await list('second'))[0];
    const one = await client.runs.retrieve(root.id, { project_id: project.id, start_time: root.start_time, selects: ['NAME', 'INPUTS'] });
    eq([one.id, one.name], [root.id, 'outer']);
  });

  await test('langsmith: datasets and examples', async () => {
    const dataset = await client.createDataset('mails', { description: 'd' });
    eq((await client.readDataset({ datasetName: 'mails' })).id, dataset.id);
    match((await errorOf(() => client.createDataset('mails'))).message, /already exists|409/i);
    await client.createExamples({ datasetId: dataset.id, inputs: [{ q: 1 }, { q: 2 }], outputs: [{ a: 1 }, { a: 2 }] });
    const examples = [];
    for await (const e of client.listExamples({ datasetId: dataset.id })) examples.push(e);
    eq(examples.map(e => e.inputs.q).sort(), [1, 2]);
    await client.updateExample({ id: examples[0].id, inputs: { q: 9 }, outputs: { a: 9 } });
    eq((await client.readExample(examples[0].id)).inputs, { q: 9 });
    await client.deleteExample(examples[0].id);
    eq((await client.readDataset({ datasetId: dataset.id })).example_count, 1);
    const sets = [];
    for await (const d of client.listDatasets()) sets.push(d.name);
    eq(sets, ['mails']);
    await client.deleteDataset({ datasetId: dataset.id });
    eq(await client.hasDataset({ datasetName: 'mails' }), false);
  });

  await test('langsmith: the SDK repeats after 503 and the runs arrive once', async () => {
    await admin(url, 'POST', 'trouble', { where: 'ingest', what: '503', times: 1 });
    const once = traceable(async () => 'x', { name: 'once', project_name: 'retry', client, tracingEnabled: true });
    await once();
    await client.awaitPendingTraceBatches();
    eq((await list('retry')).length, 1);
  });
}
