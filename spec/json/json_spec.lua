--- stores.json: what is read is what was written, and what cannot be is refused with its path.

local cjson = require('cjson')
local ffi = require('ffi')
local core = require('stores.core')
local errors = require('stores.errors')
local json = require('stores.json')

local null = json.null

-- The message of the refusal; fails where the value is not refused.
local function refusal(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok, ok and 'nothing was refused: ' .. tostring(err) or nil)
  assert.is_true(errors.is(err), tostring(err))
  return err.message, err.code
end

local function refuses(value, message)
  local text, code = refusal(json.encode, value)
  assert.equals(message, text)
  assert.equals('invalid_document', code)
end

local function rejects(text, reason)
  local message, code = refusal(json.decode, text)
  assert.equals('invalid_document', code)
  if reason then assert.truthy(message:find(reason, 1, true), message) end
  return message
end

-- Written out, then read: the same text.
local function keeps(text)
  assert.equals(text, json.encode(json.decode(text)))
end

-- Arrays or objects inside each other, `levels` of them, as a value or as text.
local function nested_value(levels, member)
  local value = {}
  for _ = 2, levels do value = member(value) end
  return value
end

local function in_array(value) return { value } end
local function in_object(value) return { a = value } end

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
    refuses({ a = { 1, nil, 3 } }, 'cannot store .a: sparse array')
    refuses({ a = { [2] = 1 } }, 'cannot store .a: sparse array')
    refuses({ a = { [1] = 1, [1000] = 2 } }, 'cannot store .a: sparse array')
    refuses({ a = json.array { nil, 2 } }, 'cannot store .a: sparse array')
    refuses({ [2] = 1 }, 'cannot store the value: sparse array')
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

describe('strings', function()
  it('come back byte for byte', function()
    for code = 1, 127 do
      local text = 'a' .. string.char(code) .. 'b'
      assert.equals(text, json.decode(json.encode(text)))
      assert.equals(text, cjson.decode(json.encode({ text }))[1])
    end
    for length = 0, 100 do
      for _, char in ipairs { 'x', '"', '\\', '\n', 'é', '€', '\240\159\152\128' } do
        local text = ('a'):rep(length) .. char .. ('b'):rep(length % 11)
        assert.equals(text, json.decode(json.encode(text)))
        assert.same({ [text] = text }, json.decode(json.encode({ [text] = text })))
      end
    end
  end)

  it('of any length come back, and what is wrong in them is found', function()
    for _, length in ipairs { 4096, 8192 } do -- long texts are written piece by piece
      for at = length - 8, length + 4 do
        local before = '\n' .. ('a'):rep(at - 1)
        for _, char in ipairs { '"', '\n', 'é', '€', '\240\159\152\128' } do
          for _, after in ipairs { '', 'b', 'é and the rest' } do
            local text = before .. char .. after
            assert.equals(text, json.decode(json.encode(text)))
          end
        end
        refuses(before .. '\0é', [[cannot store the value: string with \u0000]])
        for _, cut in ipairs { '\195', '\226\130', '\240\159\152', '\128', '\195\0' } do
          refuses(before .. cut, 'cannot store the value: string that is not UTF-8')
          refuses(before .. cut .. 'abcd\0', 'cannot store the value: string that is not UTF-8')
        end
      end
    end
  end)

  it('have short escapes where JSON has them', function()
    assert.equals([["\"\\\b\f\n\r\t/\u0001\u000b\u001f]] .. '\127"',
      json.encode('"\\\b\f\n\r\t/\1\v\31\127'))
  end)

  it('are read with every escape', function()
    assert.equals('"\\/\b\f\n\r\t', json.decode([["\"\\\/\b\f\n\r\t"]]))
    assert.equals('Aé€', json.decode([["\u0041\u00e9\u20AC"]]))
    assert.equals('\240\159\152\128', json.decode([["\ud83d\ude00"]]))
    assert.equals('\244\143\191\191', json.decode([["\uDBFF\uDFFF"]]))
    assert.equals('\240\144\128\128', json.decode([["\ud800\udc00"]]))
    assert.equals('\239\191\191', json.decode([["\uffff"]]))
    assert.equals('a\127b', json.decode('"a\\u007fb"'))
    assert.equals('\194\128', json.decode([["\u0080"]]))
  end)

  it('with a NUL are refused', function()
    refuses({ a = 'x\0y' }, [[cannot store .a: string with \u0000]])
    refuses({ a = { ['x\0'] = 1 } }, [[cannot store .a: key with \u0000]])
    refuses('\0', [[cannot store the value: string with \u0000]])
    rejects([["\u0000"]])
    rejects('"\0"')
  end)

  local invalid = {
    ['a lone continuation'] = { '\128', '\191', 'abc\128' },
    ['overlong forms'] = { '\192\128', '\193\191', '\224\128\128', '\224\159\191',
      '\240\128\128\128', '\240\143\191\191' },
    ['surrogates'] = { '\237\160\128', '\237\191\191', '\237\160\189\237\184\128' },
    ['more than U+10FFFF'] = { '\244\144\128\128', '\245\128\128\128', '\248\136\128\128\128',
      '\254', '\255' },
    ['cut characters'] = { '\195', '\226\130', '\240\159\152', '\240\159', '\226', '\240' },
    ['a broken middle'] = { '\195a', '\226\130a', '\226a\130', '\240\159\152a', '\240a\152\128',
      '\195\195\169' },
  }
  for name, texts in pairs(invalid) do
    it('that are not UTF-8 are refused: ' .. name, function()
      for _, text in ipairs(texts) do
        for _, before in ipairs { '', 'a', 'abcdefg', 'abcdefgh', 'é', 'abcdefghi\n' } do
          for _, after in ipairs { '', 'x', 'abcdefghij' } do
            local whole = before .. text .. after
            refuses({ a = whole }, 'cannot store .a: string that is not UTF-8')
            refuses({ a = { [whole] = 1 } }, 'cannot store .a: key that is not UTF-8')
            local written = whole:gsub('\n', '\\n')
            rejects('"' .. written .. '"', 'UTF-8')
            rejects('{"' .. written .. '": 1}', 'UTF-8')
          end
        end
      end
    end)
  end

  it('of the edges of UTF-8 come back', function()
    for _, text in ipairs { '\194\128', '\223\191', '\224\160\128', '\237\159\191', '\238\128\128',
        '\239\191\191', '\240\144\128\128', '\244\143\191\191' } do
      assert.equals(text, json.decode(json.encode(text)))
    end
  end)
end)

describe('values that JSON has not', function()
  it('are refused with their path', function()
    refuses({ tags = { 'a', 'b', print } }, 'cannot store .tags[3]: function')
    refuses({ a = { ['b c'] = 0 / 0 } }, 'cannot store .a["b c"]: NaN')
    refuses({ { { x = io.stdout } } }, 'cannot store [1][1].x: userdata')
    refuses({ a = coroutine.create(print) }, 'cannot store .a: thread')
    refuses({ a = newproxy() }, 'cannot store .a: userdata')
    refuses({ a = ffi.new('int[1]') }, 'cannot store .a: cdata')
    refuses({ a = ffi.new('void *') }, 'cannot store .a: cdata')
    refuses({ a = ffi.new('int32_t', 1) }, 'cannot store .a: cdata')
    refuses({ a = ffi.typeof('int64_t') }, 'cannot store .a: cdata')
    refuses(print, 'cannot store the value: function')
    refuses(nil, 'cannot store the value: nil')
    refuses({ a = ffi.new('struct { int64_t x; }') }, 'cannot store .a: cdata')
  end)

  it('are refused where their __tostring plays an integer', function()
    local liar = ffi.metatype('struct { int stores_json_liar; }',
      { __tostring = function() return '5LL' end })
    refuses({ a = liar() }, 'cannot store .a: cdata')
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
    message = refusal(json.encode, nested_value(513, function(value) return { abc = value } end))
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

describe('depth', function()
  for name, member in pairs { arrays = in_array, objects = in_object } do
    it('of 512 ' .. name .. ' is written, of 513 refused', function()
      local text = json.encode(nested_value(512, member))
      assert.equals(text, json.encode(json.decode(text)))
      local message = refusal(json.encode, nested_value(513, member))
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
    if os.getenv('STORES_TEST_PASS') ~= 'gc' then depths[#depths + 1] = 200000 end
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
    local many = os.getenv('STORES_TEST_PASS') == 'gc' and 2e4 or 1e6 -- as above
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
    local deep = nested_value(300, in_array)
    assert.equals(1 + 600 * 3 + 3, #json.encode({ deep, deep, deep }))
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

describe('names of members', function()
  -- The codec remembers short ones; there are far more here than it has places for.
  it('are the same however often and in whatever order they come', function()
    local names = {}
    for i = 1, 3000 do
      names[i] = ('n'):rep(i % 21) .. i
      names[#names] = i % 7 == 0 and names[i] .. 'é' or names[i]
    end
    for round = 1, 3 do
      for i = 1, #names, 3 do
        local first, second = names[i], names[#names - i + 1]
        local text = ('{"%s": %d, "%s": {"%s": true}, "filler": "filler"}'):format(first, round,
          second, first)
        local value = json.decode(text)
        assert(value[first] == round and value[second][first] == true, text)
      end
    end
  end)

  it('differ by their length, and by each of their bytes', function()
    for _, name in ipairs({ 'a', 'aa', 'aaaaaaaa', 'aaaaaaaab', 'aaaaaaaaaaaaaaaa',
      'aaaaaaaaaaaaaaab', 'baaaaaaaaaaaaaaa', 'aaaaaaaaaaaaaaaaa' }) do
      for _ = 1, 2 do
        local value = json.decode('{"' .. name .. '": 1, "x": "what lies behind the name"}')
        assert.is_equal(1, value[name])
        assert.is_equal('what lies behind the name', value.x)
      end
    end
  end)

  -- The next one is looked for where it was the last time: what is there must be that name.
  it('come in any order, whatever came before', function()
    local names = { 'id', 'name', 'tags', 'names', 'n', 'nameless', 'updated', 'email',
      'longer than two words of it', 'exactly_sixteen_', 'na\\u006de2' }
    for round = 1, 400 do
      local members, wanted = {}, {}
      for i = 1, round % #names + 1 do
        local name = names[(i * (round % 7 + 1) + round) % #names + 1]
        wanted[name:gsub('\\u006d', 'm')] = round * 100 + i
        members[i] = ('"%s":%s%d'):format(name, round % 3 == 0 and '' or ' ', round * 100 + i)
      end
      local text = '{' .. table.concat(members, round % 2 == 0 and ', ' or ',') .. '}'
      local value = json.decode('{"of": ' .. text .. ', "behind": [' .. text .. ']}')
      assert.same(wanted, value.of)
      assert.same(wanted, value.behind[1])
    end
  end)
end)

describe('numbers with zeros at their end', function()
  it('are those without, where a double has them', function()
    for text, value in pairs({ ['1.50000000000000000000'] = 1.5, ['-0.000000000000000000'] = 0,
      ['12345.1250000000000000'] = 12345.125, ['100.00000000000000000000'] = 100,
      ['0.10'] = 0.1, ['999999999999999.000000000'] = 999999999999999,
      ['0.000000000000001000000'] = 1e-15, ['1.50000000000000000000e2'] = 150 }) do
      assert.equal(value, json.decode(text), text)
    end
  end)

  it('keep their digits where none has', function()
    for _, text in ipairs({ '0.10000000000000000000010', '1234567890123456789.50' }) do
      assert.equal(text, json.encode(json.decode(text)))
    end
  end)
end)
