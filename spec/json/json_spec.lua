--- stores.json: arrays, objects and null, which are read as they were written, and texts that are
--- no JSON. Strings: json_strings_spec. Numbers: json_number_spec. Depth: json_depth_spec. Values
--- that JSON has not: json_refused_spec.

local cjson = require('cjson')
local codec = require('spec.support.codec')
local core = require('stores.core')
local json = require('stores.json')

local null = json.null
local refusal, refuses, rejects = codec.refusal, codec.refuses, codec.rejects

-- Written out, then read: the same text.
local function keeps(text)
  assert.equals(text, json.encode(json.decode(text)))
end

describe('stores.json.null', function()
  it('is the null of cjson', function()
    assert.equals(cjson.null, json.null)
    assert.equals(cjson.null, json.decode('null'))
    assert.equals(cjson.null, json.decode('{"a": null}').a)
    assert.equals('null', json.encode(cjson.null))
    assert.equals(core.null, null)
  end)

  it('stays in arrays and objects', function()
    keeps('[null,1,null]')
    keeps('{"a":null}')
  end)
end)

describe('arrays', function()
  it('stay arrays when they are empty, and empty objects stay objects', function()
    keeps('[]')
    keeps('{}')
    keeps('[[],{},[[]]]')
    keeps('{"a":[]}')
    keeps('{"a":{}}')
  end)

  it('are marked when they are read', function()
    assert.is_true(json.is_array(json.decode('[]')))
    assert.is_true(json.is_array(json.decode('{"a": [1]}').a))
    assert.is_false(json.is_array(json.decode('{}')))
    assert.is_false(json.is_array({}))
    assert.is_false(json.is_array('x'))
    assert.is_false(json.is_array(setmetatable({}, {})))
  end)

  it('are made by json.array, which changes its argument in place', function()
    local list = {}
    assert.equals(list, json.array(list))
    assert.equals('[]', json.encode(list))
    assert.equals('[]', json.encode(json.array()))
    assert.equals('[1,2]', json.encode(json.array { 1, 2 }))
    local _, code = refusal(json.array, 1)
    assert.equals('invalid_argument', code)
  end)

  it('are plain tables with the keys 1..n', function()
    assert.equals('[1,2,3]', json.encode({ 1, 2, 3 }))
    assert.equals('[false]', json.encode({ false }))
    assert.equals('{}', json.encode({}))
  end)

  it('may have been filled in any order', function()
    local list = {}
    for i = 100, 1, -1 do list[i] = i end
    local expected = {}
    for i = 1, 100 do expected[i] = tostring(i) end
    assert.equals('[' .. table.concat(expected, ',') .. ']', json.encode(list))
    assert.equals('[1,2,3]', json.encode({ [3] = 3, [1] = 1, [2] = 2 }))
    assert.equals('[1,2,3]', json.encode(json.array { [3] = 3, [2] = 2, [1] = 1 }))
    assert.equals('[1,2,3,4]', json.encode({ 1, 2, [4] = 4, [3] = 3 }))
  end)

  it('may have grown, shrunk and lost their other keys', function()
    local list = { a = 1, 1, 2, 3 }
    list.a = nil
    list[3] = nil
    assert.equals('[1,2]', json.encode(list))
    list[1], list[2] = nil, nil
    assert.equals('{}', json.encode(list))
    assert.equals('[]', json.encode(json.array(list)))
  end)

  it('of every length come back', function()
    for length = 0, 200 do
      local list = json.array {}
      for i = 1, length do list[i] = i end
      local back = json.decode(json.encode(list))
      assert.same(list, back)
      assert.equals(length, #back)
      assert.is_true(json.is_array(back))
    end
  end)

  it('are refused when they are sparse', function()
    local SPARSE = 'cannot store %s: sparse array; the names of an object are strings'
    refuses({ a = { 1, nil, 3 } }, SPARSE:format('.a'))
    refuses({ a = { [2] = 1 } }, SPARSE:format('.a'))
    refuses({ a = { [1] = 1, [1000] = 2 } }, SPARSE:format('.a'))
    refuses({ a = json.array { nil, 2 } }, SPARSE:format('.a'))
    refuses({ [2] = 1 }, SPARSE:format('the value'))
  end)

  it('are refused when they have other keys, too', function()
    local mixed = 'table with array and other keys'
    refuses({ a = { 1, 2, n = 2 } }, 'cannot store .a: ' .. mixed)
    refuses({ a = { n = 2, [1] = 1 } }, 'cannot store .a: ' .. mixed)
    refuses({ a = json.array { n = 1 } }, 'cannot store .a: ' .. mixed)
    local late = {}
    for i = 1, 50 do late['key' .. i] = i end
    late[7] = 7
    refuses({ late }, 'cannot store [1]: ' .. mixed)
  end)

  it('begin at 1', function()
    refuses({ { [0] = 0, 1, 2 } }, 'cannot store [1]: key that is no array index')
    refuses({ { [0] = 0 } }, 'cannot store [1]: key that is no array index')
    refuses({ { [-1] = 0 } }, 'cannot store [1]: key that is no array index')
    refuses({ { [1.5] = 0 } }, 'cannot store [1]: key that is no array index')
  end)
end)

describe('objects', function()
  it('come back whatever their size', function()
    for size = 0, 200 do
      local object = {}
      for i = 1, size do object['key ' .. i] = i end
      assert.same(object, json.decode(json.encode(object)))
    end
  end)

  it('take the last of several members of one name', function()
    assert.same({ a = 3, b = 2 }, json.decode('{"a": 1, "b": 2, "a": 3}'))
    local members = {}
    for i = 1, 100 do members[i] = ('"k%d": %d'):format(i % 10, i) end
    assert.same(100, json.decode('{' .. table.concat(members, ',') .. '}').k0)
  end)

  it('have keys of any text', function()
    keeps('{"":1}')
    keeps('{"a b\\"c\\\\":1}')
    keeps('{"é\240\159\152\128":1}')
    assert.same({ ['1'] = 1 }, json.decode('{"1": 1}'))
    keeps('{"1":1}')
  end)

  it('are refused with keys of other types', function()
    refuses({ a = { [true] = 1 } }, 'cannot store .a: key of type boolean')
    refuses({ a = { [{}] = 1 } }, 'cannot store .a: key of type table')
    refuses({ a = { [print] = 1 } }, 'cannot store .a: key of type function')
    refuses({ a = { [io.stdout] = 1 } }, 'cannot store .a: key of type userdata')
    refuses({ a = { [null] = 1 } }, 'cannot store .a: key of type userdata')
    refuses({ a = { [1LL] = 1 } }, 'cannot store .a: key of type cdata')
    refuses({ a = { [coroutine.create(print)] = 1 } }, 'cannot store .a: key of type thread')
  end)

  it('are written as they are, without their metamethods', function()
    local called = false
    local function call() called = true end
    local object = setmetatable({ a = 1 }, { __index = call, __len = call, __pairs = call,
      __tostring = call, __eq = call, __newindex = call, __call = call })
    assert.equals('{"a":1}', json.encode(object))
    assert.equals('[1]', json.encode(setmetatable({ 1 }, { __index = call, __len = call })))
    assert.is_false(called)
  end)

  it('may stand in several places', function()
    local shared = { 1 }
    assert.equals('[[1],[1]]', json.encode({ shared, shared }))
  end)
end)

describe('reading', function()
  it('takes white space where JSON has it', function()
    assert.same({ a = { 1, 2 }, b = {} },
      json.decode(' \t\r\n{ "a" : [ 1 , 2 ] , "b":{ } } \n'))
    assert.same({}, json.decode('[ ]'))
  end)

  it('takes any value', function()
    assert.equals(true, json.decode('true'))
    assert.equals(false, json.decode('false'))
    assert.equals('x', json.decode('"x"'))
    assert.equals(1, json.decode('1'))
  end)

  it('rejects what is no JSON', function()
    local texts = { '', ' ', '{', '}', '[', ']', '[1', '[1,', '[,1]', '[1,]', '[1 2]', '{"a"',
      '{"a"}', '{"a":', '{"a":}', '{"a":1', '{"a":1,', '{"a":1,}', '{,}', '{1:2}', '{a:1}',
      "{'a':1}", "'a'", 'nul', 'nulll', 'tru', 'True', 'NaN', 'Infinity', '-Infinity', 'nan',
      'undefined', '+1', '.5', '1.', '1.e5', '01', '-01', '-', '--1', '1e', '1e+', '0x1', '1a',
      '00', '"', '"a', '"\\', '"\\"', '"\\x"', '"\\u"', '"\\u123"', '"\\u123g"', '"\\a"',
      '"\\U0041"', '"a\nb"', '"a\tb"', '"\31"', '[1]]', '{}{}', '1 2', 'null null', '"a" "b"',
      '\239\187\191{}', '/* c */ 1', '[1] // c', '"\\ud800"', '"\\udc00"', '"\\ud800\\ud800"',
      '"\\ud800x"', '"\\ud800\\n"', '"\\ud800\\u0041"', '"\\udc00\\ud800"', '"\\ud83d\\ude0"',
      '\0', '1\0', '{}\0', '\v1', '[1;2]', '{"a";1}', '1e5.5', '-a', '\160', '[\194\160]' }
    for _, text in ipairs(texts) do
      assert.is_false(pcall(json.decode, text), text)
    end
  end)

  it('rejects every beginning of a document', function()
    local text = '{"a": [1, -2.5e3, "x\\u00e9\\n", {"b": null}], "é": [true, false], "c": {}}'
    assert.equals('table', type(json.decode(text)))
    for length = 0, #text - 1 do rejects(text:sub(1, length)) end
  end)

  it('says where', function()
    assert.equals('invalid JSON at byte 6: unexpected character', rejects('[1, 2x]'))
    assert.equals('invalid JSON at byte 4: text behind the value', rejects('{} x'))
    assert.equals('invalid JSON at byte 3: unexpected end', rejects('[1'))
    assert.equals('invalid JSON at byte 3: invalid escape', rejects('"a\\x"'))
    assert.equals('invalid JSON at byte 2: lone surrogate', rejects([["\udc00"]]))
  end)

  it('takes a string and nothing else', function()
    for _, value in ipairs { 1, true, {}, null } do
      local _, code = refusal(json.decode, value)
      assert.equals('invalid_argument', code)
    end
  end)
end)

describe('a finalizer', function()
  it('may use the codec while the codec is at work', function()
    local escaped = '"' .. ('\\n'):rep(500) .. '"'
    local plain = ('\n'):rep(500)
    local runs = 0
    local function litter()
      local proxy = newproxy(true)
      getmetatable(proxy).__gc = function()
        runs = runs + 1
        assert(json.decode('"' .. ('\\t'):rep(5000) .. '"') == ('\t'):rep(5000))
        assert(json.encode({ 1LL, ('x'):rep(5000) }))
      end
    end
    for i = 1, 2000 do
      litter()
      local text = '[' .. escaped:sub(1, -2) .. i .. '"]'
      assert(json.decode(text)[1] == plain .. i)
      assert(json.encode({ i + 0LL, plain, i + 0LL }) == ('[%d,%s,%d]'):format(i, escaped, i))
    end
    collectgarbage()
    assert.is_true(runs > 0)
  end)
end)
