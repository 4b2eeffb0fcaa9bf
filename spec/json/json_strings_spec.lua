--- stores.json: strings, byte for byte, and the names of members, which the codec remembers.

local cjson = require('cjson')
local codec = require('spec.support.codec')
local json = require('stores.json')

local refuses, rejects = codec.refuses, codec.rejects

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
