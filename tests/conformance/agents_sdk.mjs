// npm @openai/agents against the emulator: its runner over chat completions and over responses, whole and as streams, with
// a function and with the tools of an emulated MCP server. Used by run.mjs.
import { Agent, MCPServerStreamableHttp, OpenAIProvider, Runner, setTracingDisabled, tool } from '@openai/agents';
import { z } from 'zod';
import { eq, errorOf, match, mcpServer, test } from './harness.mjs';

const ISSUES = [{ number: 7, title: 'Zebra 77', state: 'open', html_url: 'https://example.com/7' }];

export async function run(emulator) {
  const { env } = emulator;
  setTracingDisabled(true);
  const runner = useResponses => new Runner({ tracingDisabled: true,
    modelProvider: new OpenAIProvider({ apiKey: env.OPENAI_API_KEY, baseURL: env.OPENAI_BASE_URL, useResponses }) });
  const asked = [];
  const issues = tool({ name: 'github_issues_list', description: 'List issues', parameters: z.object({ owner: z.string(), repo: z.string() }),
    execute: async input => { asked.push(input); return { issues: ISSUES }; } });
  const question = 'List the open issues of northwind/website';

  for (const [kind, useResponses] of [['chat', false], ['responses', true]]) {
    await test(`agents: a run with a tool over ${kind}`, async () => {
      asked.length = 0;
      const agent = new Agent({ name: 'A', instructions: 'Be brief.', model: 'gpt-4o', tools: [issues] });
      const result = await runner(useResponses).run(agent, question);
      eq(asked, [{ owner: 'northwind', repo: 'website' }]);
      match(result.finalOutput, /Zebra 77/);
      eq(result.rawResponses.length, 2);
      eq(result.rawResponses.every(r => r.usage.totalTokens === r.usage.inputTokens + r.usage.outputTokens), true);
    });

    await test(`agents: the same as a stream over ${kind}`, async () => {
      asked.length = 0;
      const agent = new Agent({ name: 'A', model: useResponses ? 'o4-mini' : 'gpt-4o', tools: [issues] });
      const result = await runner(useResponses).run(agent, question, { stream: true });
      let text = '';
      for await (const piece of result.toTextStream()) text += piece;
      await result.completed;
      eq(asked.length, 1);
      match(text, /Zebra 77/);
      match(result.finalOutput, /Zebra 77/);
    });

    await test(`agents: an output of a type, and a refusal, over ${kind}`, async () => {
      const agent = new Agent({ name: 'A', model: 'gpt-4o', outputType: z.object({ city: z.string(), days: z.number().int() }) });
      eq((await runner(useResponses).run(agent, '3 days in Lisbon')).finalOutput, { city: 'Lisbon', days: 3 });
      const error = await errorOf(() => runner(useResponses).run(new Agent({ name: 'B', model: 'llama' }), 'hi'));
      match(String(error.message), /The model `llama` does not exist/);
    });
  }

  await test('agents: the tools of an emulated MCP server', async () => {
    const { url, token } = await mcpServer(emulator, 'agents', ['gmail']);
    const server = new MCPServerStreamableHttp({ url, name: 'emulated', requestInit: { headers: { authorization: `Bearer ${token}` } } });
    await server.connect();
    try {
      const agent = new Agent({ name: 'A', model: 'gpt-4o', mcpServers: [server] });
      const result = await runner(false).run(agent, 'Fetch my last 2 unread emails');
      match(result.finalOutput, /Q3 figures for the board/);
    } finally {
      await server.close();
    }
  });
}
