--- stores.json over random and real documents, with cjson as the second opinion.

local cjson = require('cjson')
local ffi = require('ffi')
local errors = require('stores.errors')
local json = require('stores.json')

local null = json.null

describe('random documents', function()
  local seed = tonumber(os.getenv('STORES_SEED')) or 20240521
  local rounds = tonumber(os.getenv('STORES_ROUNDS'))
    or os.getenv('STORES_TEST_COLLECTS') and 500 or 2000

  -- A generator of its own, so that the seed alone decides.
  local function generator(state)
    return function(limit)
      state = (state * 1103515245 + 12345) % 2 ^ 31
      return math.floor(state / 2 ^ 31 * limit) + 1
    end
  end

  local pieces = { 'a', 'Z', ' ', '"', '\\', '/', '\n', '\1', '\127', 'é', 'ß', '€', '漢',
    '\240\159\152\128', 'word', 'a longer piece of text' }

  local function random_text(random)
    local parts = {}
    for i = 1, random(8) - 1 do parts[i] = pieces[random(#pieces)] end
    return table.concat(parts)
  end

  local Bits = ffi.typeof('union { uint32_t words[2]; double value; }')

  -- Infinities and NaN are left out by their bits: LuaJIT takes some NaN that it is handed by the
  -- FFI for values of other types.
  local function random_double(random)
    local bits = Bits()
    bits.words[0] = (random(2 ^ 16) - 1) * 65536 + random(2 ^ 16) - 1
    bits.words[1] = ((random(2) - 1) * 2048 + random(2047) - 1) * 2 ^ 20 + random(2 ^ 20) - 1
    return bits.value
  end

  -- exact: only what cjson writes and reads without loss.
  local function random_value(random, depth, exact)
    local kind = random(depth > 0 and 10 or 7)
    if kind == 1 then return null end
    if kind == 2 then return random(2) == 1 end
    if kind == 3 then return random(2e9) - 1e9 end
    if kind == 4 then return exact and random(1000) / 8 or random_double(random) end
    if kind <= 7 then return random_text(random) end
    local value = {}
    if kind == 8 then
      value = json.array(value)
      for i = 1, random(6) + (exact and 0 or -1) do
        value[i] = random_value(random, depth - 1, exact)
      end
    else
      for _ = 1, random(6) do
        value[random_text(random) .. 'k'] = random_value(random, depth - 1, exact)
      end
    end
    return value
  end

  local function equal(a, b)
    if type(a) ~= 'table' or type(b) ~= 'table' then return a == b end
    for key, value in pairs(a) do
      if not equal(value, b[key]) then return false end
    end
    for key in pairs(b) do
      if a[key] == nil then return false end
    end
    return json.is_array(a) == json.is_array(b)
  end

  it('come back equal', function()
    local random = generator(seed)
    for round = 1, rounds do
      local value = random_value(random, 5)
      local back = json.decode(json.encode(value))
      assert.is_true(equal(value, back), 'round ' .. round .. ' of seed ' .. seed)
    end
  end)

  it('are read and written as cjson does where that is exact', function()
    local random = generator(seed + 1)
    for round = 1, rounds do
      local value = random_value(random, 5, true)
      local name = 'round ' .. round .. ' of seed ' .. seed
      local ours, theirs = json.encode({ value }), cjson.encode({ value })
      assert.same(cjson.decode(theirs), cjson.decode(ours), name)
      assert.same(cjson.decode(theirs), json.decode(theirs), name)
    end
  end)

  it('damaged anywhere are read or refused, and nothing worse', function()
    local random = generator(seed + 2)
    for _ = 1, rounds do
      local text = json.encode(random_value(random, 4))
      local at = random(#text)
      local damaged = text:sub(1, at - 1) .. string.char(random(256) - 1) .. text:sub(at + 1)
      local ok, value = pcall(json.decode, damaged)
      if ok then
        assert.is_true(equal(value, json.decode(json.encode(value))))
      else
        assert.is_true(errors.is(value, 'invalid_document'), tostring(value))
      end
    end
  end)

  it('of real data are read as cjson does', function()
    for _, name in ipairs { 'iso_3166-1', 'iso_3166-2', 'iso_639-3', 'iso_4217', 'iso_15924' } do
      local file = io.open('/usr/share/iso-codes/json/' .. name .. '.json', 'rb')
      if file then
        local text = file:read('*a')
        file:close()
        local expected = cjson.decode(text)
        assert.is_true(equal(json.decode(cjson.encode(expected)), json.decode(text)))
        assert.is_true(equal(json.decode(text), json.decode(json.encode(json.decode(text)))))
      end
    end
  end)
end)
