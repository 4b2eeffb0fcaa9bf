--- stores.json: how deep what is written may be, and what is read, which may be deeper.

local codec = require('spec.support.codec')
local json = require('stores.json')

local refusal, rejects = codec.refusal, codec.rejects

local function in_array(value) return { value } end
local function in_object(value) return { a = value } end

describe('depth', function()
  for name, member in pairs { arrays = in_array, objects = in_object } do
    it('of 512 ' .. name .. ' is written, of 513 refused', function()
      local text = json.encode(codec.nested(512, member))
      assert.equals(text, json.encode(json.decode(text)))
      local message = refusal(json.encode, codec.nested(513, member))
      assert.truthy(message:find('deeper than 512 levels', 1, true), message)
    end)
  end

  -- how many levels lie around the innermost value, and that value
  local function depth_of(value)
    local depth = 0
    while type(value) == 'table' do
      depth, value = depth + 1, value[1] or value.a or value.b
    end
    return depth, value
  end

  it('is read whatever it is: jsonb takes some ten thousand levels, and json any', function()
    local depths = { 511, 512, 513, 514, 1500, 20000 }
    -- a collection walks all of it: under one that runs all the time that takes minutes
    if not os.getenv('STORES_TEST_COLLECTS') then depths[#depths + 1] = 200000 end
    for _, depth in ipairs(depths) do
      assert.equal(depth, (depth_of(json.decode(('['):rep(depth) .. (']'):rep(depth)))))
      local text = ('{"a":'):rep(depth) .. '7' .. ('}'):rep(depth)
      assert.same({ depth, 7 }, { depth_of(json.decode(text)) })
      text = ('[{"b": [1], "a": '):rep(depth) .. 'null' .. (', "c": "x"}, 2 ]'):rep(depth)
      assert.same({ 2 * depth, json.null }, { depth_of(json.decode(text)) })
    end
  end)

  it('that is read keeps every member in its place', function()
    local around = 600
    local text = ('['):rep(around) .. '{"a": [1, [2, 3], 4], "a": {}, "b": {"c": [{}, []],'
      .. ' "d": true}, "e" : [ "x" ,null ] }' .. (']'):rep(around)
    local value = json.decode(text)
    for _ = 1, around do
      assert.is_true(json.is_array(value))
      assert.equal(1, #value)
      value = value[1]
    end
    assert.same({ a = {}, b = { c = { {}, {} }, d = true }, e = { 'x', json.null } }, value)
    assert.is_false(json.is_array(value.a))
    assert.is_false(json.is_array(value.b.c[1]))
    assert.is_true(json.is_array(value.b.c[2]))
    assert.is_true(json.is_array(value.e))
  end)

  it('does not make bad text good', function()
    for _, bad in ipairs({ '[1,]', '[,1]', '[1 2]', '{"a":1,}', '{"a"}', '{"a":1 "b":2}', '{1:2}',
      '[}', '{]', '[', '{', '{"a":', '[1', '{"a":1', '[\1]', '{"a" 1}', '[],', '["x]', '[nul]' }) do
      rejects(('['):rep(600) .. bad .. (']'):rep(600), 'invalid JSON')
    end
    local many = os.getenv('STORES_TEST_COLLECTS') and 2e4 or 1e6 -- as above
    rejects(('['):rep(many), 'unexpected end')
    rejects(('{"a":'):rep(many), 'unexpected end')
  end)

  it('is met in a coroutine, too', function()
    local text = ('['):rep(512) .. (']'):rep(512)
    local value = coroutine.wrap(function() return json.decode(text) end)()
    assert.equals(text, coroutine.wrap(function() return json.encode(value) end)())
  end)

  it('is that of the path, not of the document', function()
    local wide = {}
    for i = 1, 2000 do wide[i] = { { { i } } } end
    assert.same(wide, json.decode(json.encode(wide)))
    local deep = codec.nested(300, in_array)
    assert.equals(1 + 600 * 3 + 3, #json.encode({ deep, deep, deep }))
  end)
end)
