// npm @langchain/openai against the emulator: what ChatOpenAI makes of answers, streams and refusals.
import { ChatOpenAI } from '@langchain/openai';
import { HumanMessage, ToolMessage } from '@langchain/core/messages';
import { tool } from '@langchain/core/tools';
import { z } from 'zod';
import { admin, eq, errorOf, match, test } from './harness.mjs';

export async function run({ url, env }) {
  const make = more => new ChatOpenAI({ model: 'gpt-4o', apiKey: env.OPENAI_API_KEY, configuration: { baseURL: env.OPENAI_BASE_URL }, maxRetries: 0, ...more });
  const fetchMails = tool(async ({ max_results: n }) => JSON.stringify({ messages: Array.from({ length: n }, (_, i) => ({ id: `m${i}`, snippet: 'text',
    payload: { headers: [{ name: 'Subject', value: `Subject ${i}` }, { name: 'From', value: 'a@example.com' }] } })) }), {
    name: 'gmail_fetch_mails', description: 'Search the mailbox', schema: z.object({ query: z.string(), max_results: z.number().int() }) });

  await test('langchain: the recipe\'s loop', async () => {
    const model = make().bindTools([fetchMails]);
    const messages = [new HumanMessage('Fetch my last 3 unread emails and summarize them')];
    const first = await model.invoke(messages);
    eq(first.tool_calls.map(c => [c.name, c.args, c.type]), [['gmail_fetch_mails', { query: 'is:unread', max_results: 3 }, 'tool_call']]);
    eq(first.invalid_tool_calls, []);
    eq(first.response_metadata.finish_reason, 'tool_calls');
    eq(first.usage_metadata.total_tokens, first.usage_metadata.input_tokens + first.usage_metadata.output_tokens);
    const result = await fetchMails.invoke(first.tool_calls[0]);
    eq(result instanceof ToolMessage && result.tool_call_id === first.tool_calls[0].id, true);
    const last = await model.invoke([...messages, first, result]);
    eq(last.tool_calls, []);
    match(last.content, /3 unread emails/);
    match(last.content, /Subject 2/);
  });

  await test('langchain: a stream folds to the same calls and usage', async () => {
    const model = make({ streamUsage: true }).bindTools([fetchMails]);
    let all;
    for await (const chunk of await model.stream('Fetch my last 2 unread emails')) all = all ? all.concat(chunk) : chunk;
    const whole = await make().bindTools([fetchMails]).invoke('Fetch my last 2 unread emails');
    eq(all.tool_calls.map(c => [c.name, c.args]), [['gmail_fetch_mails', { query: 'is:unread', max_results: 2 }]]);
    eq([all.usage_metadata.input_tokens, all.usage_metadata.output_tokens], [whole.usage_metadata.input_tokens, whole.usage_metadata.output_tokens]);
  });

  await test('langchain: structured output', async () => {
    const trip = await make().withStructuredOutput(z.object({ city: z.string(), days: z.number() }), { name: 'trip' }).invoke('3 days in Lisbon');
    eq(trip, { city: 'Lisbon', days: 3 });
  });

  await test('langchain: refusals keep status, code and text', async () => {
    const unknown = await errorOf(() => make({ model: 'llama' }).invoke('x'));
    eq([unknown.status, unknown.code], [404, 'model_not_found']);
    match(unknown.message, /The model `llama` does not exist/);
    const key = await errorOf(() => make({ apiKey: 'sk-not-this-one-9999' }).invoke('x'));
    eq([key.status, key.code], [401, 'invalid_api_key']);
    await admin(url, 'POST', 'trouble', { where: 'chat', what: 'quota', times: 1 });
    const quota = await errorOf(() => make().invoke('x'));
    eq([quota.status, quota.code], [429, 'insufficient_quota']);
    await admin(url, 'DELETE', 'trouble');
  });

  await test('langchain: broken arguments are an invalid call, not an error', async () => {
    await admin(url, 'POST', 'trouble', { where: 'chat', what: 'bad_arguments', times: 1 });
    const answer = await make().bindTools([fetchMails]).invoke('Fetch my last 2 unread emails');
    eq([answer.tool_calls.length, answer.invalid_tool_calls.length, answer.invalid_tool_calls[0].name], [0, 1, 'gmail_fetch_mails']);
  });
}
