--- The order in which stores.json writes the members of an object: jsonb's own, so that a server
--- which is sent a document has nothing to sort.

local json = require('stores.json')
local support = require('spec.support')

--- The names of an object's text in their order, where each value is 1.
local function names(text)
  local list = {}
  for name in text:gmatch('"([^"]*)":1') do list[#list + 1] = name end
  return table.concat(list, ' ')
end

describe('members of an object', function()
  it('are written by their length, and then by their bytes', function()
    assert.equals('{"b":1,"c":1,"aa":1,"ab":1,"Zaa":1,"aaa":1}',
      json.encode({ aaa = 1, c = 1, ab = 1, b = 1, Zaa = 1, aa = 1 }))
    assert.equals('{"":1,"a":1,"z":1,"zz":1,"é":1,"zzz":1}',
      json.encode({ zzz = 1, ['é'] = 1, zz = 1, z = 1, a = 1, [''] = 1 }))
  end)

  it('keep their values, whatever those are', function()
    assert.equals('{"a":"x,\\"b\\":1","b":[{"y":2,"zz":{"n":3,"mm":4}},[]],"cc":{},"ddd":null}',
      json.encode({ ddd = json.null, cc = {}, b = { { zz = { mm = 4, n = 3 }, y = 2 },
        json.array({}) }, a = 'x,"b":1' }))
  end)

  it('are the same where they are many, long, or have names with escapes', function()
    for _, size in ipairs({ 1, 2, 15, 31, 32, 33, 100 }) do
      for _, text in ipairs({ 'x', ('y'):rep(100), ('z'):rep(3000) }) do
        local object = { inner = { ['\n'] = text, a = text } }
        for i = 1, size do object['k' .. i * 37 % 101] = { [text:sub(1, i)] = i, b = text } end
        assert.same(object, json.decode(json.encode(object)))
      end
    end
  end)
end)

describe('documents of chance', function()
  local store, db

  setup(function() store, db = support.store({}) end)
  teardown(function() support.close(store, db) end)

  it('have their members as the server has them', function()
    local texts, pieces = {}, { 'a', 'b', 'Z', '0', ' ', '-', 'é', '漢', 'ab' }
    math.randomseed(tonumber(os.getenv('STORES_TEST_SEED')) or os.time())
    for i = 1, 500 do
      local object = {}
      for _ = 1, math.random(1, 12) do
        local name = {}
        for k = 1, math.random(0, 5) do name[k] = pieces[math.random(#pieces)] end
        object[table.concat(name)] = 1
      end
      texts[i] = json.encode(object)
    end
    local rows = store:query([[SELECT t::jsonb::text AS text
      FROM jsonb_array_elements_text($1) WITH ORDINALITY u(t, n) ORDER BY n]], { texts })
    assert.equals(#texts, #rows)
    for i, row in ipairs(rows) do
      assert.equals(names(texts[i]), names((row.text:gsub(': 1', ':1'))), texts[i])
    end
  end)
end)
