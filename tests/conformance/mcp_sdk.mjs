// The emulated MCP servers as npm @modelcontextprotocol/sdk sees them: handshake, pages of tools, a call, a session's end,
// answers as streams, a stream that is resumed, what a server asks of its client. Used by run.mjs.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { CreateMessageRequestSchema, ElicitRequestSchema, ListRootsRequestSchema, PingRequestSchema } from '@modelcontextprotocol/sdk/types.js';
import { admin, eq, errorOf, mcpServer, test } from './harness.mjs';

export async function run({ url, env }) {
  const server = await mcpServer({ url, env }, 'sdk', ['gmail', 'slack']);
  const { token } = server;

  async function open(headers, capabilities = {}) {
    const transport = new StreamableHTTPClientTransport(new URL(server.url), { requestInit: { headers } });
    const client = new Client({ name: 'conformance', version: '1' }, { capabilities });
    await client.connect(transport);
    return { client, transport };
  }
  async function tools(client) {
    const all = [];
    for (let cursor; ;) {
      const page = await client.listTools(cursor ? { cursor } : {});
      all.push(...page.tools);
      if (!(cursor = page.nextCursor)) return all;
    }
  }

  await test('mcp: handshake, tools by pages, a call, the end of the session', async () => {
    const { client, transport } = await open({ authorization: `Bearer ${token}` });
    eq(client.getServerVersion().name, 'agenthost-emulator');
    eq((await tools(client)).length, 56 + 82);
    const result = await client.callTool({ name: 'gmail_fetch_mails', arguments: { max_results: 1 } });
    eq([result.isError, result.structuredContent.messages.length], [false, 1]);
    eq((await client.callTool({ name: 'nope' })).isError, true);
    await transport.terminateSession();
    await client.close();
  });

  await test('mcp: answers as streams', async () => {
    await admin(url, 'POST', 'forms', { mcp_answer: 'sse' });
    const { client } = await open({ authorization: `Bearer ${token}` });
    eq((await tools(client)).length, 56 + 82);
    await client.close();
    await admin(url, 'POST', 'forms', { mcp_answer: 'json' });
  });

  await test('mcp: a stream that stops is resumed, and nothing runs twice', async () => {
    const { client } = await open({ authorization: `Bearer ${token}` });
    const before = (await admin(url, 'GET', 'state')).tool_calls;
    await admin(url, 'POST', 'trouble', { where: 'mcp_server', what: 'resume', match: 'tools/call', times: 1, seconds: 0.02 });
    const result = await client.callTool({ name: 'gmail_fetch_mails', arguments: { max_results: 1 } });
    eq(result.structuredContent.messages.length, 1);
    eq((await admin(url, 'GET', 'state')).tool_calls, before + 1);
    await client.close();
  });

  await test('mcp: others speak before the answer', async () => {
    const { client } = await open({ authorization: `Bearer ${token}` });
    await admin(url, 'POST', 'trouble', { where: 'mcp_server', what: 'chatter', match: 'tools/call', times: 1 });
    eq((await client.callTool({ name: 'gmail_fetch_mails', arguments: { max_results: 1 } })).isError, false);
    await client.close();
  });

  await test('mcp: the server asks, on the standing stream and on the answer\'s own', async () => {
    const { client } = await open({ authorization: `Bearer ${token}` }, { elicitation: {}, sampling: {}, roots: {} });
    const asked = [];
    const answers = [[ElicitRequestSchema, { action: 'accept', content: { agree: true } }],
      [CreateMessageRequestSchema, { model: 'm', role: 'assistant', content: { type: 'text', text: 'yes' } }],
      [ListRootsRequestSchema, { roots: [{ uri: 'file:///a' }] }], [PingRequestSchema, {}]];
    for (const [schema, answer] of answers) client.setRequestHandler(schema, ({ method }) => { asked.push(method); return answer; });
    for (const where of ['standing', 'answer']) {
      await admin(url, 'POST', 'forms', { mcp_asks: where });
      for (const kind of ['elicitation', 'sampling', 'roots', 'ping']) {
        await admin(url, 'POST', 'trouble', { where: 'mcp_server', what: `ask_${kind}`, match: 'tools/call', times: 1, seconds: 10 });
        const { isError, content } = await client.callTool({ name: 'gmail_fetch_mails', arguments: { max_results: 1 } });
        eq([isError, content.length, content[1].text.startsWith(`The client answered ${asked.at(-1)} with {`)], [false, 2, true], content[1]?.text);
      }
    }
    await admin(url, 'POST', 'forms', { mcp_asks: 'standing' });
    eq(asked, [1, 2].flatMap(() => ['elicitation/create', 'sampling/createMessage', 'roots/list', 'ping']));
    await client.close();
  });

  await test('mcp: a wrong token', async () => {
    const error = await errorOf(() => open({ authorization: 'Bearer nonsense' }));
    eq(/401|nauthorized|invalid_token/.test(String(error.message)), true, String(error));
  });
}
