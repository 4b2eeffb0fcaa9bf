--- core.json_check, which looks at lines that are stored as they are: where it says yes the decoder
--- says so, too, and both find the same id.
-- Not in the gc pass: what is looked at is no value of Lua; the decoder has that pass in json_spec.

local core = require('stores.core')

-- Pieces of which some fit together.
local PIECES = { '{', '}', '[', ']', ',', ':', '"id"', '"a"', '"i\\u0064"', '"\\u0000"',
  '"\\ud83d"',
  '"\\ud83d\\ude00"', '"\226\130\172"', '"\195"', '"\1"', '"\\x"', '"5"', '"-7"', '5', '-0', '01',
  '1e5', '1e999999', '12345678901234567890.5', 'true', 'null', 'nul', ' ', '\n', '\t' }

-- Documents in which some parts may be odd.
local function value(depth)
  local kind = math.random(depth > 3 and 4 or 6)
  if kind <= 4 then return PIECES[math.random(7, #PIECES - 3)] end
  local parts = {}
  for i = 1, math.random(0, 3) do
    parts[i] = (kind == 5 and ('"%s": '):format(math.random() < 0.4 and 'id' or 'k' .. i) or '')
      .. value(depth + 1)
  end
  local text = table.concat(parts, ', ')
  return kind == 5 and '{' .. text .. '}' or '[' .. text .. ']'
end

local function judge(text)
  local said = core.json_check(text)
  if said == nil then return false end
  local document, why = core.json_decode(text)
  assert.is_truthy(document, ('%s: %s'):format(text, tostring(why)))
  assert.equal('{', text:match('%S'))
  local id = document.id
  if said == true then
    assert.is_nil(id, text)
  elseif id ~= said and type(id) == 'string' then
    assert.is_false((pcall(core.check_id, said)), text) -- an escape
  elseif type(id) == 'number' then
    assert.equal(id, tonumber(said), text)
  elseif id ~= said then
    -- what is no id the next look refuses
    assert.is_false((pcall(core.check_id, said)), text)
  end
  return true
end

describe('core.json_check', function()
  it('finds the id of plain documents', function()
    assert.equal('5', core.json_check(' {"a": {"id": "7"}, "id" : "5" } '))
    assert.equal('-6', core.json_check('{"id":-6,"a":[1,{"id":7}]}'))
    assert.equal('2', core.json_check('{"id": "1", "id": "2"}'))
    assert.is_true(core.json_check('{"a": "\\"id\\""}'))
    assert.is_true(core.json_check('{}'))
  end)

  it('leaves all that is odd to the decoder', function()
    for _, text in ipairs({ '', '[]', '5', '{"a"}', '{"a":1,}', '{"a":01}', '{"a":"\\u0000"}', '{',
      '{"a":"\\ud83d"}', '{"a":"\195"}', '{"i\\u0064":"5"}', '{"a":1} x', '{"a":1e999999}',
      ('{"a":'):rep(100) .. '1' .. ('}'):rep(100) }) do
      assert.is_nil(core.json_check(text), text)
    end
  end)

  it('says yes to nothing that the decoder refuses', function()
    local yes = 0
    for _ = 1, 20000 do
      local parts = {}
      for i = 1, math.random(0, 4) do
        parts[i] = ('"%s": %s'):format(math.random() < 0.3 and 'id' or 'k', value(1))
      end
      if judge('{' .. table.concat(parts, ',') .. '}') then yes = yes + 1 end
    end
    for _ = 1, 20000 do
      local parts = {}
      for i = 1, math.random(1, 9) do parts[i] = PIECES[math.random(#PIECES)] end
      judge(table.concat(parts))
    end
    assert.is_true(yes > 1000, yes)
  end)
end)
