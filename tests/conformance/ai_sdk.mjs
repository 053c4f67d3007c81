// npm ai (Vercel's AI SDK with @ai-sdk/openai) against the emulator: its tool loop over chat completions and over
// responses, whole and as streams, structured output, embeddings, what it tries again. Used by run.mjs.
import { createOpenAI } from '@ai-sdk/openai';
import { APICallError, embedMany, generateText, isStepCount, Output, streamText, tool } from 'ai';
import { z } from 'zod';
import { admin, eq, errorOf, match, test } from './harness.mjs';

const MAILS = { messages: [{ id: 'm1', snippet: 'Hello there', payload: { headers: [
  { name: 'Subject', value: 'Zebra 77' }, { name: 'From', value: 'Zoe <z@example.com>' }] } }] };

export async function run({ url, env }) {
  const openai = createOpenAI({ apiKey: env.OPENAI_API_KEY, baseURL: env.OPENAI_BASE_URL });
  const asked = [];
  const tools = { gmail_fetch_mails: tool({ description: 'Search the mailbox',
    inputSchema: z.object({ query: z.string().optional(), max_results: z.number().int().optional() }),
    execute: async input => { asked.push(input); return MAILS; } }) };
  const loop = { prompt: 'Fetch my last 3 unread emails', tools, stopWhen: isStepCount(4), maxRetries: 0 };

  for (const [kind, model] of [['chat', openai.chat('gpt-4o')], ['responses', openai.responses('gpt-4o')],
    ['responses with reasoning', openai.responses('o4-mini')]]) {
    await test(`ai: a tool loop over ${kind}`, async () => {
      asked.length = 0;
      const result = await generateText({ model, ...loop });
      eq(asked, [{ query: 'is:unread', max_results: 3 }]);
      eq([result.steps.length, result.steps[0].finishReason, result.finishReason], [2, 'tool-calls', 'stop']);
      match(result.text, /Zebra 77, from Zoe: Hello there/);
      const { inputTokens, outputTokens, totalTokens } = result.usage;
      eq([inputTokens > 0, totalTokens], [true, inputTokens + outputTokens]);
    });

    await test(`ai: the same as a stream over ${kind}`, async () => {
      asked.length = 0;
      const result = streamText({ model, ...loop });
      const kinds = new Set();
      for await (const part of result.fullStream) {
        if (part.type === 'error') throw part.error;
        kinds.add(part.type);
      }
      eq(['tool-call', 'tool-result', 'text-delta', 'finish'].filter(k => !kinds.has(k)), []);
      eq(asked, [{ query: 'is:unread', max_results: 3 }]);
      match(await result.text, /Zebra 77, from Zoe: Hello there/);
    });
  }

  await test('ai: structured output, embeddings', async () => {
    for (const model of [openai.chat('gpt-4o'), openai.responses('gpt-4o')]) {
      const { output } = await generateText({ model, prompt: '3 days in Lisbon', maxRetries: 0,
        output: Output.object({ schema: z.object({ city: z.string(), days: z.number().int() }) }) });
      eq(output, { city: 'Lisbon', days: 3 });
    }
    const { embeddings, usage } = await embedMany({ model: openai.embedding('text-embedding-3-small'), values: ['a', 'b'] });
    eq([embeddings.length, embeddings[0].length, usage.tokens > 0], [2, 1536, true]);
  });

  await test('ai: bent streams are read, broken ones are errors', async () => {
    const read = async trouble => {
      let failed;
      const result = streamText({ model: openai.chat('gpt-4o'), prompt: 'größe?', maxRetries: 0, onError: ({ error }) => { failed = error; },
        headers: trouble && { 'x-agenthost-trouble': trouble } });
      let text = '';
      for await (const piece of result.textStream) text += piece;
      return failed ? 'failed' : text;
    };
    const whole = await read();
    for (const trouble of ['split', 'crlf; also=split', 'comments', 'no_space', 'usage_on_finish', 'usage_everywhere', 'obfuscation']) {
      eq(await read(trouble), whole, trouble);
    }
    eq(await read('error_event'), 'failed');
    eq(await read('torn; bytes=300'), 'failed');
  });

  await test('ai: a refusal by the name of the model; which are tried again', async () => {
    const ask = (model, more = {}) => errorOf(() => generateText({ model: openai.chat(model), prompt: 'hi', maxRetries: 0, ...more }));
    const refused = await ask('gpt-4o~400');
    eq([APICallError.isInstance(refused), refused.statusCode, refused.isRetryable], [true, 400, false]);
    const busy = await ask('gpt-4o~429; retry_after_ms=20');
    eq([busy.statusCode, busy.isRetryable, busy.responseHeaders['retry-after-ms']], [429, true, '20']);
    const count = async () => (await admin(url, 'GET', 'state')).requests['POST chat'] || 0;
    const before = await count();
    await ask('gpt-4o~503; retry_after_ms=20', { maxRetries: 2 });
    eq(await count() - before, 3);
  });
}
