// npm openai against the emulator: parsed values, ids, usage, streams, and the class and text of refusals.
import OpenAI, {
  APIConnectionError, APIError, AuthenticationError, BadRequestError, InternalServerError, NotFoundError, RateLimitError,
} from 'openai';
import { admin, eq, errorOf, match, test } from './harness.mjs';

const FETCH = {
  type: 'function',
  function: { name: 'gmail_fetch_mails', description: 'Search the mailbox', parameters: { type: 'object',
    properties: { query: { type: 'string' }, max_results: { type: 'integer' } }, required: [] } },
};
const ISSUES = {
  type: 'function',
  function: { name: 'github_issues_list', description: 'List issues', parameters: { type: 'object',
    properties: { owner: { type: 'string' }, repo: { type: 'string' }, state: { type: 'string' } }, required: ['owner', 'repo'] } },
};
const ask = content => [{ role: 'user', content }];

export async function run({ url, env }) {
  const client = new OpenAI({ apiKey: env.OPENAI_API_KEY, baseURL: env.OPENAI_BASE_URL, maxRetries: 0 });
  const chat = body => client.chat.completions.create({ model: 'gpt-4o', ...body });

  await test('openai: a tool call, its arguments, ids and usage', async () => {
    const { data, response, request_id: id } = await chat({ messages: ask('Fetch my last 3 unread emails'), tools: [FETCH] }).withResponse();
    match(data.id, /^chatcmpl-[A-Za-z0-9]{29}$/);
    match(id, /^req_[0-9a-f]{32}$/);
    eq(data.object, 'chat.completion');
    eq(data.model, 'gpt-4o-2024-08-06');
    eq(data.choices.length, 1);
    const { message, finish_reason: finish } = data.choices[0];
    eq([finish, message.role, message.content, message.refusal], ['tool_calls', 'assistant', null, null]);
    eq(message.tool_calls.length, 1);
    match(message.tool_calls[0].id, /^call_[A-Za-z0-9]{24}$/);
    eq(message.tool_calls[0].type, 'function');
    eq(JSON.parse(message.tool_calls[0].function.arguments), { query: 'is:unread', max_results: 3 });
    eq(data.usage.total_tokens, data.usage.prompt_tokens + data.usage.completion_tokens);
    eq(data.usage.prompt_tokens_details.cached_tokens, 0);
    eq(response.headers.get('openai-version'), '2020-10-01');
    match(response.headers.get('x-ratelimit-reset-requests'), /^\d+ms$/);
  });

  await test('openai: the answer is made of the tool\'s real result', async () => {
    const first = await chat({ messages: ask('Fetch my last 2 unread emails'), tools: [FETCH] });
    const call = first.choices[0].message.tool_calls[0];
    const result = { messages: [{ id: 'm1', snippet: 'Hello there', payload: { headers: [{ name: 'Subject', value: 'Zebra 77' }, { name: 'From', value: 'Zoe <z@example.com>' }] } }] };
    const second = await chat({ tools: [FETCH], messages: [...ask('Fetch my last 2 unread emails'), first.choices[0].message,
      { role: 'tool', tool_call_id: call.id, content: JSON.stringify(result) }] });
    eq(second.choices[0].finish_reason, 'stop');
    match(second.choices[0].message.content, /1 unread email:\n1\. Zebra 77, from Zoe: Hello there/);
  });

  await test('openai: a stream gives what the whole answer gives', async () => {
    const body = { messages: ask('Check my unread mail and list the open issues of northwind/website'), tools: [FETCH, ISSUES] };
    const whole = await chat(body);
    const stream = client.chat.completions.stream({ model: 'gpt-4o', ...body, stream_options: { include_usage: true } });
    const final = await stream.finalChatCompletion();
    const brief = c => c.choices[0].message.tool_calls.map(t => [t.function.name, JSON.parse(t.function.arguments)]);
    eq(brief(final), brief(whole));
    eq(brief(final).map(c => c[0]), ['gmail_fetch_mails', 'github_issues_list']);
    eq(final.usage, whole.usage);
    eq(final.choices[0].finish_reason, 'tool_calls');
  });

  await test('openai: chunks share id and created; usage is null until the last', async () => {
    const seen = [];
    for await (const chunk of await chat({ messages: ask('Tell me a story'), stream: true, stream_options: { include_usage: true } })) seen.push(chunk);
    eq(new Set(seen.map(c => c.id + c.created + c.object)).size, 1);
    eq(seen[0].choices[0].delta, { role: 'assistant', content: '', refusal: null });
    eq(seen.slice(0, -1).every(c => c.usage === null), true);
    eq(seen.at(-1).choices, []);
    eq(seen.at(-2).choices[0].finish_reason, 'stop');
    eq(seen.at(-2).choices[0].delta, {});
    match(seen.map(c => c.choices[0]?.delta.content || '').join(''), /Tell me a story/);
  });

  await test('openai: structured output is JSON of the schema', async () => {
    const schema = { type: 'object', properties: { city: { type: 'string' }, days: { type: 'integer' } }, required: ['city', 'days'], additionalProperties: false };
    const c = await chat({ messages: ask('3 days in Lisbon'), response_format: { type: 'json_schema', json_schema: { name: 'trip', schema, strict: true } } });
    eq(JSON.parse(c.choices[0].message.content), { city: 'Lisbon', days: 3 });
  });

  await test('openai: max_tokens cuts, n repeats', async () => {
    const cut = await chat({ messages: ask('Tell me a story'), max_tokens: 5 });
    eq([cut.choices[0].finish_reason, cut.usage.completion_tokens], ['length', 5]);
    const two = await chat({ messages: ask('Tell me a story'), n: 2 });
    eq(two.choices.map(c => c.index), [0, 1]);
  });

  await test('openai: models', async () => {
    const page = await client.models.list();
    eq(page.data.some(m => m.id === 'gpt-4o' && m.object === 'model'), true);
    eq((await client.models.retrieve('gpt-4o-mini')).id, 'gpt-4o-mini');
    eq((await errorOf(() => client.models.retrieve('llama'))).constructor, NotFoundError);
  });

  await test('openai: embeddings come as base64 by default and as floats, with the same numbers', async () => {
    const input = ['the invoice is off by a cent', 'noodles on friday'];
    const packed = await client.embeddings.create({ model: 'text-embedding-3-small', input });
    const plain = await client.embeddings.create({ model: 'text-embedding-3-small', input, encoding_format: 'float' });
    eq([packed.data.length, packed.data[0].embedding.length, packed.data[1].index], [2, 1536, 1]);
    eq(packed.data[1].embedding.every((x, i) => Math.abs(x - plain.data[1].embedding[i]) < 1e-6), true);
    eq(packed.usage, plain.usage);
    const short = await client.embeddings.create({ model: 'text-embedding-3-large', input: [1, 2, 3], dimensions: 4 });
    eq(short.data[0].embedding.length, 4);
    eq((await errorOf(() => client.embeddings.create({ model: 'text-embedding-3-small', input: '' }))).constructor, BadRequestError);
    eq((await errorOf(() => client.embeddings.create({ model: 'gpt-4o', input: 'x' }))).constructor, NotFoundError);
  });

  await test('openai: moderations', async () => {
    const { results, id } = await client.moderations.create({ model: 'omni-moderation-latest', input: ['have a nice day', 'I will kill the process'] });
    match(id, /^modr-/);
    eq(results.map(r => r.flagged), [false, true]);
    eq([results[1].categories.violence, results[1].category_scores.violence > 0.9, Object.keys(results[0].categories).length], [true, true, 13]);
  });

  await test('openai: streams whose bytes are bent are read all the same', async () => {
    const read = async trouble => {
      const stream = client.chat.completions.stream({ model: 'gpt-4o', messages: ask('größe?'), stream_options: { include_usage: true } },
        { headers: trouble && { 'x-agenthost-trouble': trouble } });
      const { choices, usage } = await stream.finalChatCompletion();
      return [choices[0].message.content, usage?.total_tokens];
    };
    const whole = await read();
    for (const trouble of ['split', 'split; size=3; also=crlf', 'crlf', 'cr', 'no_space', 'comments', 'usage_on_finish', 'empty_choices', 'usage_everywhere', 'obfuscation', 'last_newline']) {
      eq(await read(trouble), whole, trouble);
    }
  });

  await test('openai: retry headers are obeyed', async () => {
    const retrying = new OpenAI({ apiKey: env.OPENAI_API_KEY, baseURL: env.OPENAI_BASE_URL, maxRetries: 2 });
    const attempts = async trouble => {
      await admin(url, 'POST', 'trouble', { where: 'chat', times: 3, ...trouble });
      const before = (await admin(url, 'GET', 'state')).requests['POST chat'];
      await errorOf(() => retrying.chat.completions.create({ model: 'gpt-4o', messages: ask('x') }));
      await admin(url, 'DELETE', 'trouble');
      return (await admin(url, 'GET', 'state')).requests['POST chat'] - before;
    };
    eq(await attempts({ what: '429', retry_after_ms: 20 }), 3);
    eq(await attempts({ what: '429', should_retry: false }), 1);
    eq(await attempts({ what: '400', should_retry: true, retry_after_ms: 5 }), 3);
  });

  const refusals = [
    ['unknown model', { model: 'llama', messages: ask('x') }, NotFoundError, 404, 'model_not_found', null, /The model `llama` does not exist/],
    ['no messages', { messages: [] }, BadRequestError, 400, 'empty_array', 'messages', /empty array/],
    ['unknown role', { messages: [{ role: 'robot', content: 'x' }] }, BadRequestError, 400, 'invalid_value', 'messages[0].role', /'robot'/],
    ['tool name', { messages: ask('x'), tools: [{ type: 'function', function: { name: 'a.b' } }] }, BadRequestError, 400, 'invalid_value',
      'tools[0].function.name', /Invalid 'tools\[0\]\.function\.name': string does not match pattern\. Expected a string that matches the pattern '\^\[a-zA-Z0-9_-\]\+\$'\./],
    ['schema without properties', { messages: ask('x'), tools: [FETCH, { type: 'function', function: { name: 'f', parameters: { type: 'object' } } }] },
      BadRequestError, 400, 'invalid_function_parameters', 'tools[1].function.parameters', /Invalid schema for function 'f': In context=\(\), object schema missing properties\./],
    ['129 tools', { messages: ask('x'), tools: Array.from({ length: 129 }, (_, i) => ({ type: 'function', function: { name: `t${i}` } })) }, BadRequestError, 400,
      'array_above_max_length', 'tools', /maximum length 128, but got an array with length 129 instead/],
    ['unanswered calls', { messages: [...ask('x'), { role: 'assistant', content: null, tool_calls: [{ id: 'call_1', type: 'function', function: { name: 'f', arguments: '{}' } }] }] },
      BadRequestError, 400, null, 'messages', /must be followed by tool messages responding to each 'tool_call_id'\. The following tool_call_ids did not have response messages: call_1/],
    ['parallel without tools', { messages: ask('x'), parallel_tool_calls: false }, BadRequestError, 400, null, 'parallel_tool_calls', /only allowed when 'tools' are specified/],
    ['max_tokens on a reasoning model', { model: 'o4-mini', messages: ask('x'), max_tokens: 9 }, BadRequestError, 400, 'unsupported_parameter', 'max_tokens',
      /Unsupported parameter: 'max_tokens' is not supported with this model\. Use 'max_completion_tokens' instead\./],
    ['top_logprobs alone', { messages: ask('x'), top_logprobs: 3 }, BadRequestError, 400, null, 'top_logprobs', /logprobs/],
  ];
  for (const [name, body, type, status, code, param, text] of refusals) {
    await test(`openai refuses: ${name}`, async () => {
      const error = await errorOf(() => chat(body));
      eq([error.constructor, error.status, error.code, error.param, error.type], [type, status, code, param, 'invalid_request_error'], error.message);
      match(error.message, text);
    });
  }

  await test('openai refuses: wrong key, without repeating it', async () => {
    const other = new OpenAI({ apiKey: 'sk-not-this-one-9999', baseURL: env.OPENAI_BASE_URL, maxRetries: 0 });
    const error = await errorOf(() => other.chat.completions.create({ model: 'gpt-4o', messages: ask('x') }));
    eq([error.constructor, error.code], [AuthenticationError, 'invalid_api_key']);
    match(error.message, /Incorrect API key provided: sk-n\*+9999\./);
  });

  const FLAT = { type: 'function', strict: false, ...FETCH.function };

  await test('openai: responses, whole and as a stream, with a tool and its answer', async () => {
    const input = ask('Fetch my last 3 unread emails');
    const first = await client.responses.create({ model: 'o4-mini', input, tools: [FLAT], store: false,
      include: ['reasoning.encrypted_content'] });
    match(first.id, /^resp_[0-9a-f]{48}$/);
    eq([first.object, first.status, first.error, first.output.map(i => i.type)],
      ['response', 'completed', null, ['reasoning', 'function_call']]);
    const call = first.output[1];
    eq(JSON.parse(call.arguments), { query: 'is:unread', max_results: 3 });
    eq(first.usage.total_tokens, first.usage.input_tokens + first.usage.output_tokens);
    const result = { type: 'function_call_output', call_id: call.call_id, output: 'No mail.' };
    const body = { model: 'o4-mini', tools: [FLAT], store: false, input: [...input, ...first.output, result] };
    const second = await client.responses.create(body);
    match(second.output_text, /No mail\./);
    const events = [];
    const stream = client.responses.stream(body);
    for await (const event of stream) events.push(event);
    const final = await stream.finalResponse();
    eq(final.output_text, second.output_text);
    eq(events.map(e => e.sequence_number), events.map((_, i) => i));
    const kinds = events.map(e => e.type).filter((kind, i, all) => kind !== all[i - 1]);
    eq(kinds, ['response.created', 'response.in_progress', 'response.output_item.added', 'response.output_item.done',
      'response.output_item.added', 'response.content_part.added', 'response.output_text.delta', 'response.output_text.done',
      'response.content_part.done', 'response.output_item.done', 'response.completed']);
    const calling = client.responses.stream({ model: 'gpt-4o', input, tools: [FLAT] });
    const kept = await calling.finalResponse();
    eq(JSON.parse(kept.output[0].arguments), { query: 'is:unread', max_results: 3 });
    const third = await client.responses.create({ model: 'gpt-4o', previous_response_id: kept.id,
      input: [{ ...result, call_id: kept.output[0].call_id }] });
    match(third.output_text, /No mail\./);
    eq((await client.responses.retrieve(kept.id)).id, kept.id);
    await client.responses.delete(kept.id);
    eq((await errorOf(() => client.responses.retrieve(kept.id))).constructor, NotFoundError);
    const unpaired = await errorOf(() => client.responses.create({ ...body, input: [...input, ...first.output] }));
    match(unpaired.message, /No tool output found for function call call_/);
    const torn = await errorOf(() => client.responses.create({ ...body, input: [...input, call, result] }));
    match(torn.message, /without its required 'reasoning' item/);
  });

  await test('openai: a response of a schema, and one that is cut', async () => {
    const format = { type: 'json_schema', name: 'n', strict: true, schema: { type: 'object', additionalProperties: false,
      required: ['city'], properties: { city: { type: 'string' } } } };
    const shaped = await client.responses.parse({ model: 'gpt-4o', input: ask('weather in Paris'), text: { format } });
    eq(shaped.output_parsed, { city: 'Paris' });
    const cut = await client.responses.create({ model: 'gpt-4o', input: ask('Tell me a story'), max_output_tokens: 16 });
    eq([cut.status, cut.incomplete_details], ['incomplete', { reason: 'max_output_tokens' }]);
  });

  await test('openai retries what it may, and only that', async () => {
    const retrying = new OpenAI({ apiKey: env.OPENAI_API_KEY, baseURL: env.OPENAI_BASE_URL, maxRetries: 2 });
    const count = async () => (await admin(url, 'GET', 'state')).requests['POST chat'] || 0;
    const times = async (trouble, want, type) => {
      await admin(url, 'POST', 'trouble', { where: 'chat', ...trouble });
      const before = await count();
      const call = () => retrying.chat.completions.create({ model: 'gpt-4o', messages: ask('x') });
      if (type) eq((await errorOf(call)).constructor, type, trouble.what);
      else match((await call()).choices[0].message.content, /emulator/);
      await admin(url, 'DELETE', 'trouble');
      eq((await count()) - before, want, trouble.what);
    };
    await times({ what: '429', times: 1, retry_after: 1 }, 2);
    await times({ what: '500', times: 1 }, 2);
    await times({ what: '503' }, 3, InternalServerError);
    await times({ what: 'quota' }, 3, RateLimitError);
    await times({ what: '400' }, 1, BadRequestError);
    await times({ what: 'reset', times: 1 }, 2);
    await times({ what: 'html' }, 3, InternalServerError);
  });

  await test('openai: broken streams are errors', async () => {
    const read = async what => {
      await admin(url, 'POST', 'trouble', { where: 'chat', what, times: 1 });
      return errorOf(() => client.chat.completions.stream({ model: 'gpt-4o', messages: ask('Tell me a story') }).finalChatCompletion());
    };
    const event = await read('error_event');
    eq(event instanceof APIError, true);
    match(event.message, /had an error while processing/);
    eq((await read('torn')) instanceof Error, true);
    match((await read('no_finish')).message, /finish_reason/);
    const reset = await read('reset');
    eq(reset.constructor, APIConnectionError);
  });
}
