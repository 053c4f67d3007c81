-- What models cost, in US dollars per million tokens. Used where the server does not say it (LiteLLM, OpenRouter do).
-- A model that is not here costs an unknown amount, never nothing.
--
-- Prices change: compare each row with its provider's page before you rely on it, and give it the date of that day.
-- A file agent/prices.lua in your script's folder takes the place of this one; or give one model its prices:
-- openai.chat_model { model = "mine", price = { input = 1, output = 2 } }, and price = false for none.
--
-- Fields: input and output; cached_input (tokens that the provider had in its cache; without it they cost as much as
-- the others); reasoning_output, audio_input, audio_output where they have a price of their own. Longer contexts,
-- batches, and the tiers "flex" and "priority" have other prices: a call of such a tier costs an unknown amount here.
local prices = {}

-- The list prices known when this file was written. Not checked since: the date says how old they are.
prices.list = {
  -- platform.openai.com/docs/pricing
  ["gpt-5"] = { date = "2025-08-07", input = 1.25, cached_input = 0.125, output = 10 },
  ["gpt-5-mini"] = { date = "2025-08-07", input = 0.25, cached_input = 0.025, output = 2 },
  ["gpt-5-nano"] = { date = "2025-08-07", input = 0.05, cached_input = 0.005, output = 0.4 },
  ["gpt-4.1"] = { date = "2025-04-14", input = 2, cached_input = 0.5, output = 8 },
  ["gpt-4.1-mini"] = { date = "2025-04-14", input = 0.4, cached_input = 0.1, output = 1.6 },
  ["gpt-4.1-nano"] = { date = "2025-04-14", input = 0.1, cached_input = 0.025, output = 0.4 },
  ["gpt-4o"] = { date = "2024-10-01", input = 2.5, cached_input = 1.25, output = 10 },
  ["gpt-4o-mini"] = { date = "2024-10-01", input = 0.15, cached_input = 0.075, output = 0.6 },
  ["o3"] = { date = "2025-06-10", input = 2, cached_input = 0.5, output = 8 },
  ["o4-mini"] = { date = "2025-04-16", input = 1.1, cached_input = 0.275, output = 4.4 },
  ["o3-mini"] = { date = "2025-01-31", input = 1.1, cached_input = 0.55, output = 4.4 },
  ["o1"] = { date = "2024-12-17", input = 15, cached_input = 7.5, output = 60 },
  ["gpt-4-turbo"] = { date = "2024-04-09", input = 10, output = 30 },
  ["gpt-3.5-turbo"] = { date = "2024-01-25", input = 0.5, output = 1.5 },
  ["text-embedding-3-small"] = { date = "2024-01-25", input = 0.02, output = 0 },
  ["text-embedding-3-large"] = { date = "2024-01-25", input = 0.13, output = 0 },
  -- anthropic.com/pricing, through a server that speaks OpenAI's protocol; writing to its cache costs more than this
  ["claude-opus-4"] = { date = "2025-05-22", input = 15, cached_input = 1.5, output = 75 },
  ["claude-sonnet-4"] = { date = "2025-05-22", input = 3, cached_input = 0.3, output = 15 },
  ["claude-3-5-haiku"] = { date = "2024-12-03", input = 0.8, cached_input = 0.08, output = 4 },
}

-- The row of a model, or nil. "openai/gpt-4o" and "gpt-4o-2024-08-06" have the row of "gpt-4o".
function prices.of(model)
  local name = model:match "([^/]+)$" or model
  for _, shape in ipairs { "^.*$", "^(.-)%-%d%d%d%d%-%d%d%-%d%d$", "^(.-)%-%d%d%d%d%d%d%d%d$", "^(.-)%-latest$" } do
    local row = prices.list[name:match(shape)]
    if row then return row end
  end
end

-- What so many tokens cost, or nil: for limits, before a call.
function prices.cost(model, input, output)
  local row = model and prices.of(model)
  if not row or not row.input or not row.output then return nil end
  return (input * row.input + output * row.output) / 1e6
end

return prices
