--- The JSON codec beside lua-cjson, on the same text in the same process.
--- Prints, for each text, microseconds of both and the ratio; above 1 is faster than cjson:
--- bench/run.sh --codec.
local cjson = require('cjson')
local core = require('stores.core')
local report = require('bench.report')

local seconds -- of a measurement
local ISO_CODES = '/usr/share/iso-codes/json'

local function read(path)
  local file = io.open(path, 'rb')
  if not file then return nil end
  local text = file:read('*a')
  file:close()
  return text
end

--- A document of some field kinds, repeated until it has about so many bytes.
local function document(bytes, member)
  local members, size = {}, 0
  while size < bytes do
    local text = member(#members + 1)
    members[#members + 1] = text
    size = size + #text + 2
  end
  return '{' .. table.concat(members, ', ') .. '}'
end

local function mixed_member(n)
  return ('"field%d": {"name": "user %d", "score": %d.25, "tags": ["a", "b%d"], ' ..
    '"ok": true, "of": null}'):format(n, n * 7919, n * 31 % 1000, n)
end

local function number_member(n)
  return ('"n%d": [%d, %.3f, %.17g, %d]'):format(n, n, n / 7, 1 / n, n * 1234567)
end

local function text_member(n)
  return ('"t%d": "%s"'):format(n, ('the quick brown fox jumps over the lazy dog '):rep(4))
end

local function escape_member(n)
  return ('"é%d": "line one\\nline \\"two\\" — ünïcödé, and Привет"'):format(n)
end

local function time(fn, argument, rounds)
  local start = os.clock()
  for _ = 1, rounds do fn(argument) end
  return os.clock() - start
end

--- How often a call fits into a sixth of a measurement.
local function rounds_of(fn, argument)
  local rounds = 1
  while time(fn, argument, rounds) < seconds / 6 do rounds = rounds * 2 end
  return rounds
end

--- The best of five measurements each, taken in turns, so that a busy machine is busy for both.
local function compare(name, ours, our_argument, theirs, their_argument, divisor)
  collectgarbage()
  local our_rounds, their_rounds = rounds_of(ours, our_argument), rounds_of(theirs, their_argument)
  local our_best, their_best = math.huge, math.huge
  for _ = 1, 5 do
    our_best = math.min(our_best, time(ours, our_argument, our_rounds) / our_rounds)
    their_best = math.min(their_best, time(theirs, their_argument, their_rounds) / their_rounds)
  end
  local scale = 1e6 / (divisor or 1)
  print(('%-34s %11.2f us %11.2f us %8.2f'):format(name, our_best * scale, their_best * scale,
    their_best / our_best))
  return ('%.2f'):format(their_best / our_best)
end

local function measure(name, text)
  report.row(name, compare(name .. ' decode', core.json_decode, text, cjson.decode, text),
    compare(name .. ' encode', core.json_encode, core.json_decode(text), cjson.encode,
      cjson.decode(text)))
end

--- Each record of a file of iso-codes as a text of its own.
local function records(path)
  local text = read(path)
  local list = {}
  local _, values = next(text and cjson.decode(text) or {})
  for _, record in ipairs(values or {}) do list[#list + 1] = cjson.encode(record) end
  return list
end

local function measure_records(name, path)
  local texts, values, theirs = records(path), {}, {}
  if #texts == 0 then return end
  for i, text in ipairs(texts) do
    values[i], theirs[i] = core.json_decode(text), cjson.decode(text)
  end
  local function each(fn)
    return function(list)
      for i = 1, #list do fn(list[i]) end
    end
  end
  report.row(name .. ' records',
    compare(name .. ' records decode', each(core.json_decode), texts, each(cjson.decode), texts,
      #texts),
    compare(name .. ' records encode', each(core.json_encode), values, each(cjson.encode), theirs,
      #texts))
end

---@param options table of bench/run.lua
return function(options)
  seconds = options.seconds * 0.3
  report.begin('codec', { 'text', 'decode', 'encode' },
    ('best of 5 times %g s of each'):format(seconds))
  print(('%-34s %14s %14s %8s'):format('', 'stores', 'cjson', 'ratio'))
  for _, name in ipairs { 'iso_3166-1', 'iso_3166-2', 'iso_639-3', 'iso_4217' } do
    local path = ISO_CODES .. '/' .. name .. '.json'
    measure_records(name, path)
    local text = read(path)
    if text then measure(name .. ' whole', text) end
  end
  for _, size in ipairs { 1000, 100000 } do
    local label = size == 1000 and '1 KB' or '100 KB'
    measure(label .. ' mixed', document(size, mixed_member))
    measure(label .. ' numbers', document(size, number_member))
    measure(label .. ' text', document(size, text_member))
    measure(label .. ' escapes', document(size, escape_member))
  end
end
