--- A document comes back as it was stored, to the last bit: from PostgreSQL and from the cache.

local cache = require('spec.support.cache')
local cjson = require('cjson')
local stores = require('stores')
local support = require('spec.support')

local json = stores.json
local null = json.null

-- Equal to the last bit: 0 is not -0, an array no object, and a stores.json.number has its digits.
local function same(a, b)
  if type(a) ~= type(b) then return false end
  if type(a) == 'number' then return a == b and 1 / a == 1 / b end
  if type(a) ~= 'table' or json.is_number(a) or json.is_number(b) then
    return a == b and tostring(a) == tostring(b)
  end
  if json.is_array(a) ~= json.is_array(b) then return false end
  for key, value in pairs(a) do
    if not same(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

describe('a document', function()
  local store, db, keys

  setup(function()
    store, db = support.store({ 'docs' }, { timeout = 60 })
    keys = cache.of(db)
    keys:ready(store, 'public.docs')
  end)

  teardown(function() support.close(store, db) end)

  local last = 0
  local function fresh()
    last = last + 1
    return tostring(last)
  end

  -- What was published or filled is in Redis.
  local function answered()
    support.eventually(function() return store:stats().redis_pending == 0 end)
  end

  -- Every way that a value goes: written and published, read from PostgreSQL, filled, hit.
  local function round_trip(value)
    local id = fresh()
    local record = { id = id, value = value }
    store:insert('docs', record)
    local ways, hits = {}, store:stats().hits
    ways.postgres = store:find('docs', id, { cache = false })
    answered()
    ways.published = store:find('docs', id)
    store:invalidate('docs', id)
    ways.missed = store:find('docs', id)
    answered()
    ways.filled = store:find('docs', id)
    assert.equal(hits + 2, store:stats().hits)
    ways.criteria = store:findAll('docs', { after = tostring(tonumber(id) - 1), limit = 1 })[1]
    ways.written_back = store:updateObject('docs', id, function(doc) return doc end)
    ways.again = store:find('docs', id, { cache = false })
    return ways, id
  end

  local function comes_back(value, as)
    local ways = round_trip(value)
    if as == nil then as = value end
    for way, document in pairs(ways) do
      assert.is_true(same(as, document.value),
        ('%s: %s became %s'):format(way, json.encode(as):sub(1, 100),
          json.encode(document.value):sub(1, 100)))
    end
  end

  it('keeps every number', function()
    for _, number in ipairs({ 0, 1, -1, 0.5, 2 ^ 53, 2 ^ 53 - 1, -2 ^ 53, 5e-324, 1e300, 0.1,
      1.7976931348623157e308, -1.7976931348623157e308, 2.2250738585072014e-308, 0.1 + 0.2,
      1700000000123456, 123456789.125, 1e15, 1e16, 1e21, 1e22, 1e-7, 4.35, 0.3 }) do
      comes_back(number)
    end
  end)

  it('stores -0 as 0, for jsonb has no other', function()
    comes_back(-0.0, 0)
  end)

  it('keeps numbers that no double can be, digit for digit', function()
    for _, digits in ipairs({ '9007199254740993', '-9007199254740993', '9223372036854775807',
      '-9223372036854775808', '18446744073709551615', '123456789012345678901234567890.5',
      '0.1000000000000000055511151231257827', '1' .. ('0'):rep(40) .. '1' }) do
      local value = json.decode('{"v": ' .. digits .. '}').v
      assert.is_true(json.is_number(value), digits)
      comes_back(value)
      assert.equal(digits, tostring(round_trip(value).filled.value))
    end
    -- the integers of LuaJIT are written as such
    assert.equal('9223372036854775807', tostring(round_trip(0x7fffffffffffffffLL).filled.value))
    assert.equal('18446744073709551615', tostring(round_trip(0xffffffffffffffffULL).filled.value))
  end)

  it('keeps the scale of a number that was stored by SQL', function()
    local id = fresh()
    support.psql(db, ([[INSERT INTO docs VALUES (%s, '{"a": 1.00, "b": 1.10, "a": 2.50}')]])
      :format(id))
    assert.equal('{"a": 2.50, "b": 1.10}', store:find('docs', id, { raw = true }))
    keys:becomes('public.docs', id, 'V')
    assert.equal('{"a": 2.50, "b": 1.10}', store:find('docs', id, { raw = true }))
    assert.equal(2.5, store:find('docs', id).a)
  end)

  it('keeps arrays, objects and null apart', function()
    local array = json.array
    for _, value in ipairs({
      array({}), {}, array({ array({}) }), { a = array({}) }, array({ {} }), null, true, false,
      array({ null }), array({ 1, null, 3 }), { a = null },
      { a = { b = null, c = array({ null }) } },
      array({ array({ array({ {}, array({}), null }) }) }),
    }) do
      comes_back(value)
    end
  end)

  it('keeps every string', function()
    for _, text in ipairs({
      '', ' ', 'a', '"', '\\', '/', '\\"\\', '\b\f\n\r\t', '\1\2\31', '\127',
      '\194\128', '\223\191', '\224\160\128', '\239\191\191', '\240\144\128\128',
      '\244\143\191\191', 'a\226\130\172b', '\226\128\168', '\226\128\169', '\\u2028',
      'V', 'N', 'T=', 'L', '$-1\r\n', '*3\r\n', "it's", '{"a": 1}', ('x'):rep(65535),
    }) do
      comes_back(text)
      comes_back({ [text .. 'k'] = text })
    end
  end)

  it('keeps strings of 1 MiB, in and out of the cache', function()
    for _, piece in ipairs({ 'x', '\195\169', '"\\', '\226\128\168', '\240\159\152\128' }) do
      local text = piece:rep(2 ^ 20 / #piece)
      local id = fresh()
      store:insert('docs', { id = id, s = text })
      for _ = 1, 2 do assert.is_true(text == store:find('docs', id).s) end
      store:updateObject('docs', id, function(doc) doc.n = 1 end)
      assert.is_true(text == store:find('docs', id).s)
      -- a long string that the cache does take
      local shorter = piece:rep(math.floor(100 * 1024 / #piece))
      comes_back(shorter)
    end
  end)

  it('keeps 512 levels, and refuses one more', function()
    -- the document itself is the first level
    local function nested(levels)
      local value = json.array({})
      for i = 2, levels do value = i % 2 == 0 and { v = value } or json.array({ value }) end
      return value
    end
    comes_back(nested(511))
    support.refused('invalid_document', nil, round_trip, nested(512))
  end)

  -- Random documents.

  local pass = os.getenv('STORES_TEST_PASS')
  local ROUNDS = tonumber(os.getenv('STORES_ROUNDS'))
    or (pass and pass ~= 'plain' and 300 or 10000)
  local seed = tonumber(os.getenv('STORES_SEED')) or 20240521

  local function generator(state)
    return function(limit)
      state = (state * 1103515245 + 12345) % 2 ^ 31
      return math.floor(state / 2 ^ 31 * limit) + 1
    end
  end

  local pieces = { 'a', 'Z', ' ', '"', '\\', '/', '\n', '\1', '\127', 'é', 'ß', '€', '漢',
    '\240\159\152\128', '\226\128\168', 'word', 'a longer piece of text' }

  local function random_text(random)
    local parts = {}
    for i = 1, random(6) - 1 do parts[i] = pieces[random(#pieces)] end
    return table.concat(parts)
  end

  -- digits that mostly fit no double
  local function random_digits(random)
    local digits = { random(2) == 1 and '-' or '', tostring(random(9)) }
    for _ = 1, random(30) do digits[#digits + 1] = tostring(random(10) - 1) end
    if random(2) == 1 then digits[#digits + 1] = '.' .. random(1000) .. random(9) end
    return json.decode('[' .. table.concat(digits) .. ']')[1]
  end

  local function random_value(random, depth, exact)
    local kind = random(depth > 0 and 11 or 8)
    if kind == 1 then return null end
    if kind == 2 then return random(2) == 1 end
    if kind == 3 then return random(2e9) - 1e9 end
    if kind == 4 then return random(1000) / 8 end
    if kind == 5 and not exact then return random_digits(random) end
    if kind == 6 and not exact then return (random(2 ^ 30) + 0.5) / random(2 ^ 30) end
    if kind <= 8 then return random_text(random) end
    local value = {}
    if kind == 9 then
      value = json.array(value)
      -- cjson takes an empty array for an object
      for i = 1, random(5) + (exact and 0 or -1) do
        value[i] = random_value(random, depth - 1, exact)
      end
    else
      for _ = 1, random(5) do
        value[random_text(random) .. 'k'] = random_value(random, depth - 1, exact)
      end
    end
    return value
  end

  local function random_documents(exact)
    local random, documents = generator(seed), {}
    for i = 1, ROUNDS do
      documents[i] = { id = fresh(), v = random_value(random, 4, exact) }
    end
    return documents
  end

  it('is, at random, what PostgreSQL itself writes and reads', function()
    local documents = random_documents(false)
    stores.map(documents, function(doc) store:insert('docs', doc) end, { concurrency = 200 })
    local texts = {}
    for _, row in ipairs(store:query('SELECT id::text, value::text AS text FROM docs')) do
      texts[row.id] = row.text
    end
    local published = store:stats().hits
    stores.map(documents, function(doc)
      local text = texts[doc.id]
      local cached = store:find('docs', doc.id)
      assert.is_true(same(doc, cached), doc.id .. ' of seed ' .. seed)
      assert.is_true(text == store:find('docs', doc.id, { raw = true }), 'raw ' .. doc.id)
      assert.is_true(text == store:find('docs', doc.id, { raw = true, cache = false }))
      assert.is_true(same(cached, json.decode(text)), 'decoded ' .. doc.id)
    end, { concurrency = 200 })
    assert.is_true(store:stats().hits - published >= ROUNDS)
    -- what was read and is written again is the same to the server, digit for digit
    stores.map(documents, function(doc)
      store:update('docs', store:find('docs', doc.id))
    end, { concurrency = 200 })
    local equal = 0
    for _, row in ipairs(store:query('SELECT id::text, value::text AS text FROM docs')) do
      if texts[row.id] == row.text then equal = equal + 1 end
    end
    local all = 0
    for _ in pairs(texts) do all = all + 1 end
    assert.equal(all, equal)
  end)

  it('is, at random, what cjson writes and reads where cjson is exact', function()
    local documents = random_documents(true)
    for first = 1, ROUNDS, 500 do
      store:query([[INSERT INTO docs SELECT (x->>'id')::bigint, x
        FROM jsonb_array_elements($1::text::jsonb) x]],
        { cjson.encode({ unpack(documents, first, math.min(first + 499, ROUNDS)) }) })
    end
    keys:ready(store, 'public.docs')
    stores.map(documents, function(doc)
      assert.is_true(same(doc, store:find('docs', doc.id)), doc.id .. ' of seed ' .. seed)
      local text = store:find('docs', doc.id, { raw = true })
      assert.same(cjson.decode(text), cjson.decode(json.encode(doc)))
    end, { concurrency = 200 })
  end)
end)
