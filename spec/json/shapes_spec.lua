--- Objects whose names come often in one order are made by a function that knows the names: they
--- are what they were when they came for the first time.

local json = require('stores.json')

local OFTEN = 40 -- more than it takes to be known

--- The text of an object with these names, each with its number as the value.
local function text_of(names)
  local members = {}
  for i, name in ipairs(names) do members[i] = ('%s: %d'):format(json.encode(name), i) end
  return '{' .. table.concat(members, ', ') .. '}'
end

local function values_of(names)
  local values = {}
  for i, name in ipairs(names) do values[name] = i end
  return values
end

local function numbered(prefix, from, upto)
  local names = {}
  for i = from, upto do names[#names + 1] = prefix .. i end
  return names
end

local function check_often(text, wanted, message)
  for _ = 1, OFTEN do assert.same(wanted, json.decode(text), message) end
end

describe('objects that come often', function()
  it('come back each time, each as a table of its own', function()
    local text = '{"id": "7", "ok": false, "of": null, "tags": ["a"], "in": {"a": 1.5, "b": {}}}'
    local last
    for _ = 1, OFTEN do
      local document = json.decode(text)
      assert.same({ id = '7', ok = false, of = json.null, tags = { 'a' },
        ['in'] = { a = 1.5, b = {} } }, document)
      assert.not_equal(last, document)
      document.id, document.other, document.tags[1], document['in'].b.c = nil, 1, 'b', 2
      last = document
    end
  end)

  it('of every size come back, and are empty where they are', function()
    for count = 0, 40 do
      local names = numbered('member', 1, count)
      check_often(text_of(names), values_of(names), count .. ' members')
    end
  end)

  it('have names of any text and length', function()
    local names = { 'end', 'v0', 'return', 'nil', ']', ']]', '--', "'", '%d', '$', 'a b', ' ', 'é',
      'ключ', '漢字' }
    for _, name in ipairs(names) do
      check_often(text_of({ name, 'other' }), values_of({ name, 'other' }), name)
    end
    check_often(text_of(names), values_of(names))
    for _, length in ipairs({ 1, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 70 }) do
      local own = { ('x'):rep(length), 'é' .. ('y'):rep(length), 'z' }
      check_often(text_of(own), values_of(own), length .. ' bytes')
    end
    check_often('{"a\\"b": 1, "c": 2, "d\\u00e9": 3}', { ['a"b'] = 1, c = 2, ['dé'] = 3 })
    check_often('{"": 1, "c": 2}', { [''] = 1, c = 2 })
  end)

  it('take the last of several members of one name', function()
    check_often('{"a": 1, "b": 2, "a": 3}', { a = 3, b = 2 })
    check_often('{"a": 1, "a": null}', { a = json.null })
  end)

  it('may lack members, have others behind them, or have them in another order', function()
    local texts = { '{"a": 1, "b": 2, "c": 3}', '{"a": 1, "b": 2}', '{"a": 1, "c": 3}',
      '{"a": 1, "b": 2, "c": 3, "d": 4}', '{"c": 3, "b": 2, "a": 1}', '{"a": 1, "b": 2, "d": 4}' }
    local wanted = { { a = 1, b = 2, c = 3 }, { a = 1, b = 2 }, { a = 1, c = 3 },
      { a = 1, b = 2, c = 3, d = 4 }, { a = 1, b = 2, c = 3 }, { a = 1, b = 2, d = 4 } }
    for i = 1, #texts do check_often(texts[i], wanted[i]) end
    for _ = 1, OFTEN do
      for i = 1, #texts do assert.same(wanted[i], json.decode(texts[i])) end
    end
  end)

  it('are refused where they end too early, or go on, as the first one was', function()
    local text = '{"a": 1, "b": [2, 3], "c": {"d": 4}}'
    check_often(text, { a = 1, b = { 2, 3 }, c = { d = 4 } })
    for length = 1, #text - 1 do
      assert.is_false((pcall(json.decode, text:sub(1, length))), text:sub(1, length))
    end
    for _, wrong in ipairs({ '{"a": 1, "b": 2,}', '{"a" 1}', '{"a": 1 "b": 2}', '{"a": 1, b: 2}',
      '{"a": 1, "b"}', text .. '}' }) do
      assert.is_false((pcall(json.decode, wrong)), wrong)
    end
    check_often(text, { a = 1, b = { 2, 3 }, c = { d = 4 } })
  end)
end)

describe('more names and shapes than are known', function()
  it('come back, whichever of them come often', function()
    for round = 1, 4 do
      for first = 1, 300 do
        local names = numbered('n', first, first + first % 5)
        assert.same(values_of(names), json.decode(text_of(names)))
        if first % 10 == round % 10 then
          check_often('{"id": "1", "name": "x", "n5": 2}', { id = '1', name = 'x', n5 = 2 })
        end
      end
    end
  end)

  it('come back inside of an object that goes on behind them', function()
    for round = 1, 12 do
      local inner = numbered('inner' .. round % 3 .. '_', 1, 200)
      local parts, wanted = {}, { a = 1, b = 2, c = {}, last = 3 }
      for i = 1, #inner, 4 do
        local names = { inner[i], inner[i + 1], inner[i + 2], inner[i + 3] }
        parts[#parts + 1] = text_of(names)
        wanted.c[#wanted.c + 1] = values_of(names)
      end
      local text = ('{"a": 1, "b": 2, "c": [%s], "last": 3}'):format(table.concat(parts, ', '))
      assert.same(wanted, json.decode(text))
      local map = ('{"a": 1, "of": %s, "b": 2}'):format(text_of(inner))
      assert.same({ a = 1, of = values_of(inner), b = 2 }, json.decode(map))
    end
  end)
end)

describe('objects that are read inside of others', function()
  it('by a finalizer, come back as those around them do', function()
    local reads, failed = 0, 0
    local function leave_one()
      local proxy = newproxy(true)
      getmetatable(proxy).__gc = function()
        reads = reads + 1
        local names = numbered('f' .. reads % 70 .. '_', 1, 1 + reads % 9)
        for _ = 1, 20 do
          for name, value in pairs(values_of(names)) do
            if json.decode(text_of(names))[name] ~= value then failed = failed + 1 end
          end
        end
      end
    end
    for round = 1, 80 do
      for _ = 1, 5 do leave_one() end
      local names = numbered('r' .. round % 50 .. '_', 1, 1 + round % 12)
      local list, wanted = {}, {}
      for i = 1, 30 do list[i], wanted[i] = text_of(names), values_of(names) end
      assert.same(wanted, json.decode('[' .. table.concat(list, ', ') .. ']'))
    end
    collectgarbage()
    assert.is_true(reads > 0)
    assert.equal(0, failed)
  end)

  it('under a hook show it no function of ours', function()
    local text, seen = '{"hook_a": 1, "hook_b": 2}', 0
    check_often(text, { hook_a = 1, hook_b = 2 })
    debug.sethook(function()
      local source = debug.getinfo(2, 'S').source
      if source == '=stores.json' then seen = seen + 1 end
    end, 'crl')
    local document = json.decode(text)
    debug.sethook()
    assert.same({ hook_a = 1, hook_b = 2 }, document)
    assert.equal(0, seen)
  end)
end)
