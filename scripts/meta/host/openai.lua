---@meta host.openai
-- Chat completions, embeddings, moderations and models of OpenAI and of every server that speaks the same (LiteLLM, Ollama,
-- vLLM, llama.cpp). Base URL and key come from the options, else LITELLM_BASE_URL with LITELLM_API_KEY, else OPENAI_BASE_URL (or OPENAI_API_BASE) with OPENAI_API_KEY.
-- Each call is a span of its own.

---@class host.openai
local openai = {}

---How a server differs from OpenAI. What is known by the base URL may be set one by one here.
---US dollars per million tokens. A price that is missing makes the cost unknown, never nothing; cached_input and
---reasoning_output fall back on input and output.
---@class host.openai.Price
---@field input number
---@field output number
---@field cached_input? number
---@field reasoning_output? number
---@field audio_input? number
---@field audio_output? number
---@field date? string   when somebody last looked

---@class host.openai.Provider
---@field name? "openai"|"litellm"|"ollama"|"llama.cpp"|"vllm"|"openrouter"|"deepseek"|"mistral"|"other" whose row to begin with
---@field max_tokens? "max_tokens"|"max_completion_tokens"|"as_given" what the limit of an answer is called
---@field system_role? "system"|"developer"|"as_given" the role of instructions
---@field stream_usage? boolean stream_options.include_usage may be sent
---@field strict? boolean `strict` of tools and schemas may be sent
---@field parallel_tool_calls? boolean the parameter may be sent
---@field null_content? boolean an assistant message that only calls has content null, not ""
---@field nested_schema? boolean response_format has OpenAI's member json_schema, not `schema` beside type
---@field base64? boolean embeddings may be asked for as base64

---@class host.openai.Options
---@field base_url? string
---@field api_key? string|host.Secret
---@field timeout? number|host.http.Timeout over all attempts
---@field retry? host.http.Retry|false
---@field name? string of the span
---@field price? host.openai.Price|false what its tokens cost, where the server does not say it; false: unknown. When not
---given: the row of this model in agent/prices.lua
---@field provider? string|host.openai.Provider

---Any parameter of chat completions may be given beside these; it is sent as it is.
---@class host.openai.ModelOptions: host.openai.Options
---@field model string
---@field api? "chat"|"responses" which of OpenAI's two; messages and answers are the same
---@field prompt? { file?: string, sha256?: string } where the prompt came from, for the span
---@field temperature? number
---@field top_p? number
---@field max_tokens? integer
---@field max_completion_tokens? integer
---@field stop? string|string[]
---@field seed? integer
---@field response_format? table
---@field reasoning_effort? string
---@field metadata? table<string, string>
---@field [string] any

---A model as a value: it never changes; bind_tools makes another.
---@class host.openai.Model
local Model = {}

---@class host.openai.Tool others' fields are ignored; OpenAI's own shape is taken too
---@field name string any name: it is mapped to what the service allows, and back
---@field description? string
---@field parameters? table JSON Schema of an object
---@field input_schema? table the same by another name
---@field strict? boolean
---@field connection_name? string said when there are too many tools

---@class host.openai.BindOptions
---@field tool_choice? "auto"|"none"|"required"|"any"|string|table a tool's name forces that tool
---@field parallel_tool_calls? boolean

---@class host.openai.ToolCall
---@field id string
---@field name string
---@field args table
---@field arguments string as the model wrote them
---@field repaired? boolean raw control characters in strings were escaped
---@field unwrapped? boolean the arguments were a string that held the object

---A call that must not be run: cut, or its arguments are no JSON object. It needs a tool message all the same.
---@class host.openai.InvalidToolCall
---@field id string
---@field name string
---@field arguments string
---@field error string why, for the model

---@class host.openai.Usage
---@field input_tokens integer
---@field output_tokens integer
---@field total_tokens integer
---@field input_token_details? table<string, integer>
---@field output_token_details? table<string, integer>

---@class host.openai.ResponseMetadata
---@field model_name? string
---@field finish_reason "stop"|"length"|"tool_calls"|"content_filter"|"other"
---@field finish_reason_given? string of "other"
---@field no_finish_reason? boolean the service ended its stream without one
---@field id? string
---@field system_fingerprint? string
---@field service_tier? string
---@field request_id? string
---@field attempts integer
---@field waited number seconds between attempts
---@field headers? table<string, string> what LiteLLM says of the call: x-litellm-*

---An answer. It may go back into the messages as it is.
---@class host.openai.Message
---@field role "assistant"
---@field content? string
---@field tool_calls host.openai.ToolCall[]
---@field invalid_tool_calls host.openai.InvalidToolCall[]
---@field refusal? string
---@field output? table[] of the Responses API: the answer's items, which go back with the message
---@field parsed? table with_structured_output: the answer as a value
---@field parsing_error? string with_structured_output: why it is none
---@field reasoning_content? string
---@field reasoning? string
---@field usage_metadata? host.openai.Usage
---@field response_metadata host.openai.ResponseMetadata
---@field cost? number USD; nil when unknown

---@class host.openai.Given a message for the model; a host.openai.Message is one, and OpenAI's own shape is taken too
---@field role "system"|"developer"|"user"|"assistant"|"tool"
---@field content? string|table[]
---@field name? string
---@field tool_calls? table[]
---@field tool_call_id? string of role tool

---A model with tools. Raises an error of kind no_tools for none, limit for more than 128, invalid for what cannot be sent.
---@param tools host.openai.Tool[]
---@param opts? host.openai.BindOptions
---@return host.openai.Model
function Model:bind_tools(tools, opts) end

---A model whose answers are values of a JSON Schema: the message's `parsed`, or `parsing_error`, which says what is wrong.
---The schema is made strict first; raises an error of kind invalid when that cannot be done. Optional properties that the
---model fills with null are left out of `parsed`.
---@param schema table JSON Schema of an object
---@param opts? { name?: string, strict?: boolean, method?: "json_schema"|"json_mode" }
---@return host.openai.Model
function Model:with_structured_output(schema, opts) end

---The answer. Options are those of chat_model but base_url and api_key; they hold for this call.
---@param messages host.openai.Given[]
---@param opts? table
---@return host.openai.Message?
---@return host.Error?
function Model:invoke(messages, opts) end

---The answer piece by piece: `for chunk in stream do … end`, then stream:message(). In `for chunk in model:stream(…)` the
---call is cancelled when the loop is left early.
---@param messages host.openai.Given[]
---@param opts? table
---@return host.openai.Stream?
---@return host.Error?
function Model:stream(messages, opts) end

---@class host.openai.Chunk one of these
---@field content? string
---@field refusal? string
---@field reasoning? string
---@field tool_call? { index: integer, id: string, name: string, arguments: string } arguments: this piece of them

---@class host.openai.Stream
---@overload fun(): host.openai.Chunk?
local Stream = {}

---The whole message, after the loop or in its place. An error that cut the stream comes out here; `err.partial` is the text
---that had come.
---@return host.openai.Message?
---@return host.Error?
function Stream:message() end

---Cancels the call if it is still going on.
function Stream:close() end

---Raises an error of kind config when base URL or key are missing.
---@param opts host.openai.ModelOptions
---@return host.openai.Model
function openai.chat_model(opts) end

---Any parameter of the service may be given beside these: dimensions, user, encoding_format.
---@class host.openai.EmbeddingOptions: host.openai.Options
---@field model string
---@field input string|string[]|integer[]|integer[][] any number of texts: they go in requests of at most 2048
---@field [string] any

---@class host.openai.Embeddings
---@field data { embedding: number[] }[] in the order of the inputs
---@field model string
---@field usage_metadata? host.openai.Usage of all requests
---@field cost? number USD; nil when unknown
---@field response_metadata { attempts: integer, waited: number, request_id?: string, headers?: table<string, string> }

---Vectors of texts. They are asked for as base64 and come back as numbers.
---@param opts host.openai.EmbeddingOptions
---@return host.openai.Embeddings?
---@return host.Error?
function openai.embeddings(opts) end

---Whether texts or pictures are harmful: { id, model, results = { { flagged, categories, category_scores } } }.
---@param opts { input: string|table[]|string[], model?: string, base_url?: string, api_key?: string|host.Secret }
---@return table?
---@return host.Error?
function openai.moderations(opts) end

---The models that there are: { { id, created, owned_by }, … }; with `id`, that one.
---@param opts? { id?: string, base_url?: string, api_key?: string|host.Secret }
---@return table?
---@return host.Error?
function openai.models(opts) end

return openai
