--- stores.json: values that JSON has not, which are refused with the path to them.

local codec = require('spec.support.codec')
local ffi = require('ffi')
local json = require('stores.json')

local refusal, refuses, rejects = codec.refusal, codec.refuses, codec.rejects

local CDATA = 'cannot store .a: cdata; of a shared document stores.clone gives a table'

describe('values that JSON has not', function()
  it('are refused with their path', function()
    refuses({ tags = { 'a', 'b', print } }, 'cannot store .tags[3]: function')
    refuses({ a = { ['b c'] = 0 / 0 } }, 'cannot store .a["b c"]: NaN')
    refuses({ { { x = io.stdout } } }, 'cannot store [1][1].x: userdata')
    refuses({ a = coroutine.create(print) }, 'cannot store .a: thread')
    refuses({ a = newproxy() }, 'cannot store .a: userdata')
    refuses({ a = ffi.new('int[1]') }, CDATA)
    refuses({ a = ffi.new('void *') }, CDATA)
    refuses({ a = ffi.new('int32_t', 1) }, CDATA)
    refuses({ a = ffi.typeof('int64_t') }, CDATA)
    refuses(print, 'cannot store the value: function')
    refuses(nil, 'cannot store the value: nil')
    refuses({ a = ffi.new('struct { int64_t x; }') }, CDATA)
  end)

  it('are refused where their __tostring plays an integer', function()
    local liar = ffi.metatype('struct { int stores_json_liar; }',
      { __tostring = function() return '5LL' end })
    refuses({ a = liar() }, CDATA)
    local proxy = newproxy(true)
    getmetatable(proxy).__tostring = function() return '5' end
    refuses({ a = proxy }, 'cannot store .a: userdata')
  end)

  it('have paths that can be read', function()
    refuses({ ['a"b\\c'] = print }, [[cannot store ["a\"b\\c"]: function]])
    refuses({ ['a\nb'] = print }, [[cannot store ["a\u000ab"]: function]])
    refuses({ [''] = print }, 'cannot store [""]: function')
    refuses({ ['1a'] = print }, 'cannot store ["1a"]: function')
    refuses({ _a1 = print }, 'cannot store ._a1: function')
    refuses({ ['é'] = print }, 'cannot store ["é"]: function')
    refuses({ a = { [3] = 3, [2] = 2, [1] = print } }, 'cannot store .a[1]: function')
    refuses({ ['true'] = { b = { c = { 1, print } } } }, 'cannot store .true.b.c[2]: function')
  end)

  it('have paths that end somewhere', function()
    local message = refusal(json.encode, { [('k'):rep(1e6)] = print })
    assert.is_true(#message < 400, #message)
    message = refusal(json.encode, { [('é'):rep(1e5)] = print })
    assert.is_true(#message < 400, #message)
    assert.is_true(pcall(json.encode, message))
    message = refusal(json.encode, codec.nested(513, function(value) return { abc = value } end))
    assert.is_true(#message < 400, #message)
  end)

  it('are not quoted in the message', function()
    local message = refusal(json.encode, { a = 'secret\255' })
    assert.is_nil(message:find('secret'))
    message = refusal(json.encode, { ['secret\255'] = 1 })
    assert.is_nil(message:find('secret'))
    message = rejects('{"password": "secret}')
    assert.is_nil(message:find('secret'))
  end)

  it('leave the codec as it was', function()
    for _ = 1, 100 do
      pcall(json.encode, { ('x'):rep(1000), { a = print } })
      pcall(json.decode, '["abc\\n", {"a": [1, 2')
      assert.equals('[1]', json.encode({ 1 }))
      assert.same({ a = 'b\n' }, json.decode('{"a": "b\\n"}'))
    end
  end)
end)

describe('cycles', function()
  it('are refused', function()
    local a = {}
    a.b = { a }
    refuses(a, 'cannot store .b[1]: cycle')
    local list = {}
    list[1] = list
    refuses({ x = list }, 'cannot store .x[1]: cycle')
  end)
end)
