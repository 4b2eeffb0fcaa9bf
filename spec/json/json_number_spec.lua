--- stores.json: numbers, those of Lua and those that keep their digits.

local codec = require('spec.support.codec')
local ffi = require('ffi')
local json = require('stores.json')

local null, number = json.null, json.number

local refusal, refuses = codec.refusal, codec.refuses

describe('numbers', function()
  local function reads(text, value)
    local got = json.decode(text)
    assert.equals('number', type(got), text)
    assert.equals(value, got)
  end

  local function reads_exactly(text)
    local got = json.decode(text)
    assert.is_true(json.is_number(got), text .. ' was read as ' .. type(got))
    assert.equals(text, tostring(got))
    assert.equals(text, json.encode(got))
  end

  it('are Lua numbers where their digits are those of the nearest double', function()
    reads('0', 0)
    reads('-1', -1)
    reads('1.50', 1.5)
    reads('9007199254740991', 2 ^ 53 - 1)
    reads('9007199254740992', 2 ^ 53)
    reads('-9007199254740992', -2 ^ 53)
    reads('9007199254740994', 2 ^ 53 + 2)
    reads('1700000000123456', 1700000000123456)
    reads('0.30000000000000004', 0.1 + 0.2)
    reads('5e-324', 5e-324)
    reads('1e300', 1e300)
    reads('1E+300', 1e300)
    reads('1' .. ('0'):rep(300), 1e300)
    reads('0.' .. ('0'):rep(323) .. '5', 5e-324)
    reads('1.7976931348623157e308', 1.7976931348623157e308)
    reads('17976931348623157' .. ('0'):rep(292), 1.7976931348623157e308)
    reads('2.2250738585072014e-308', 2.2250738585072014e-308)
    reads('1.0000000000000000000000000000', 1)
    reads('100000000000000000000000', 1e23)
  end)

  it('are those that jsonb takes, and no others', function()
    local support = require('spec.support')
    local store, db = support.store({}, { no_redis = true })
    local texts = { ('9'):rep(131072), '1' .. ('9'):rep(131072), '0.' .. ('1'):rep(16383),
      '0.' .. ('1'):rep(16384), '0.' .. ('0'):rep(16383) .. 'e1', '1.' .. ('0'):rep(16384),
      '1.' .. ('0'):rep(16384) .. 'e5', ('1'):rep(131073) .. 'e-1', '0e', '1e+5', '1E5', '1e05' }
    for _, digits in ipairs({ '0', '1', '-9', '0.0', '1.5', '0.000', '123.456', '-0' }) do
      for _, exponent in ipairs({ '0', '16383', '16384', '-16380', '-16383', '-16384', '131070',
        '131071', '131072', '131073', '200000', '-200000', '1073741822', '1073741823',
        '-1073741823', '2147483647', '999999999999999999999', '-99999999999999999999' }) do
        texts[#texts + 1] = digits .. 'e' .. exponent
      end
    end
    for _, text in ipairs(texts) do
      local taken = pcall(store.query, store, 'SELECT $1::jsonb::text AS v', { text })
      assert.equal(taken, (pcall(json.decode, text)), text:sub(1, 40))
    end
    support.close(store, db)
  end)

  it('of a column of type json are read whatever they are', function()
    local support = require('spec.support')
    local store, db = support.store({}, { no_redis = true })
    local row = store:query("SELECT '1e400000'::json AS a, '[0e999999999999]'::json AS b")[1]
    assert.equal('1e400000', tostring(row.a))
    assert.same({ 0 }, row.b)
    support.close(store, db)
  end)

  it('are stores.json.number where they are not', function()
    reads_exactly('9007199254740993')
    reads_exactly('-9007199254740993')
    reads_exactly('123456789012345678901234567890.5')
    reads_exactly('1e400')
    reads_exactly('-1e400')
    reads_exactly('3e-324')
    reads_exactly('2e-324')
    reads_exactly('1e-400')
    reads_exactly('1.7976931348623158e308')
    reads_exactly('1.7976931348623159e308')
    reads_exactly('0.1000000000000000055511151231257827')
    reads_exactly('0.30000000000000003')
    reads_exactly('9223372036854775807')
    reads_exactly('18446744073709551615')
    reads_exactly('1' .. ('0'):rep(400) .. '1')
  end)

  it('have no negative zero', function()
    assert.equals('0', json.encode(-0))
    assert.equals('0', json.encode(-0.0))
    for _, text in ipairs { '-0', '-0.0', '-0e5' } do
      assert.equals(math.huge, 1 / json.decode(text))
    end
  end)

  it('are written with the fewest digits that read back', function()
    local cases = {
      { 2 ^ 53, '9007199254740992' }, { 0.1 + 0.2, '0.30000000000000004' }, { 5e-324, '5e-324' },
      { 1e300, '1e300' }, { 1.7976931348623157e308, '1.7976931348623157e308' }, { 0.1, '0.1' },
      { 1700000000123456, '1700000000123456' }, { -1.5, '-1.5' }, { 1e21, '1e21' },
      { 1e20, '100000000000000000000' }, { 1e-7, '1e-7' }, { 1 / 3, '0.3333333333333333' },
      { 123456.789, '123456.789' }, { 100, '100' }, { 2 ^ 63, '9223372036854776000' },
    }
    for _, case in ipairs(cases) do
      assert.equals(case[2], json.encode(case[1]))
      assert.equals(case[1], json.decode(case[2]))
    end
  end)

  it('of 64 bits are written as integers', function()
    assert.equals('9223372036854775807', json.encode(9223372036854775807LL))
    assert.equals('-9223372036854775808', json.encode(-9223372036854775807LL - 1))
    assert.equals('18446744073709551615', json.encode(18446744073709551615ULL))
    assert.equals('{"a":[0,-1]}', json.encode({ a = { 0LL, -1LL } }))
    assert.equals('5', json.encode(ffi.new('int64_t', 5)))
    assert.equals('5', json.encode(ffi.new('uint64_t', 5)))
  end)

  it('that are none are refused', function()
    refuses({ a = 0 / 0 }, 'cannot store .a: NaN')
    refuses({ a = math.huge }, 'cannot store .a: infinity')
    refuses({ a = -math.huge }, 'cannot store .a: infinity')
    refuses({ ['a b'] = { 1, 0 / 0 } }, 'cannot store ["a b"][2]: NaN')
  end)

  it('beyond the numeric of jsonb are refused', function()
    local beyond = 'cannot store .a: number beyond the range of numeric'
    for _, text in ipairs { '1e131071', '-1e131071', '1e-16383', '0.' .. ('1'):rep(16383),
        ('9'):rep(131072), '0e131072', '1.5e131071' } do
      assert.equals(text, json.encode(number(text)))
    end
    for _, text in ipairs { '1e131072', '-1e131072', '1e-16384', '0.' .. ('1'):rep(16384),
        ('9'):rep(131073), '1e99999999999999999999', '1e-99999999999999999999', '15e131071',
        '0e99999999999', '1.0e-16383', '0e-16384' } do
      refuses({ a = number(text) }, beyond)
    end
  end)

  it('do not depend on the locale', function()
    pcall(ffi.cdef, 'char *setlocale(int category, const char *locale);')
    local LC_ALL = ffi.os == 'Linux' and 6 or 0
    for _, name in ipairs { 'de_DE.UTF-8', 'fr_FR.UTF-8', 'de_DE' } do
      if os.setlocale(name) then break end
    end
    assert.equals('[1.5,5e-324,0.30000000000000004]', json.encode({ 1.5, 5e-324, 0.1 + 0.2 }))
    reads('1.5', 1.5)
    reads('0.30000000000000004', 0.1 + 0.2)
    reads('2.2250738585072014e-308', 2.2250738585072014e-308)
    assert.equals(1.5, number('1.5'):tonumber())
    ffi.C.setlocale(LC_ALL, 'C')
  end)
end)

describe('stores.json.number', function()
  it('prints as its digits', function()
    assert.equals('9007199254740993', tostring(number('9007199254740993')))
    assert.equals('1.50', tostring(number('1.50')))
    assert.equals('1.50', number('1.50'):tostring())
    assert.equals('n = 1.50', 'n = ' .. number('1.50'))
    assert.equals('1.5 ', number('1.5') .. ' ')
    assert.equals('1.52', number('1.5') .. 2)
  end)

  it('is made of text, Lua numbers, 64-bit cdata and its own kind', function()
    assert.equals('9007199254740992', tostring(number(2 ^ 53)))
    assert.equals('-5', tostring(number(-5LL)))
    assert.equals('18446744073709551615', tostring(number(18446744073709551615ULL)))
    assert.equals('1.50', tostring(number(number('1.50'))))
  end)

  it('is not made of anything else', function()
    for _, text in ipairs { '', ' 1', '1 ', '+1', '.5', '1.', '01', '-', '1e', '1e+', '0x10', 'nan',
        'inf', '1_000', '1,5', '--1', '1.2.3', '1e1.5', '1\0', 0 / 0, math.huge, {}, true, null } do
      local _, code = refusal(json.number, text)
      assert.equals('invalid_argument', code)
    end
    local _, code = refusal(json.number, nil)
    assert.equals('invalid_argument', code)
  end)

  it('compares by exact decimal value', function()
    assert.is_true(number('1.50') == number('15e-1'))
    assert.is_true(number('0') == number('-0.000e7'))
    assert.is_true(number('100') == number('1e2'))
    assert.is_true(number('0.001') == number('1e-3'))
    assert.is_false(number('9007199254740993') == number('9007199254740992'))
    local rising = { '-1e400', '-9007199254740993', '-9007199254740992', '-1.5', '-1', '-0.0001',
      '-1e-400', '0', '1e-400', '0.00999', '0.01', '0.1', '0.11', '1', '1.000000000000000000001',
      '9.99', '10', '10.5', '99', '100', '9007199254740992', '9007199254740993', '1e400',
      '1e99999999999' }
    for i, a in ipairs(rising) do
      for j, b in ipairs(rising) do
        local x, y = number(a), number(b)
        assert.equals(i < j, x < y, a .. ' < ' .. b)
        assert.equals(i <= j, x <= y, a .. ' <= ' .. b)
        assert.equals(i == j, x == y, a .. ' == ' .. b)
        assert.equals(i < j and -1 or i > j and 1 or 0, x:compare(b))
        assert.equals(i == j, x:eq(b))
      end
    end
  end)

  it('compares with Lua numbers, text and cdata by name', function()
    local n = number('9007199254740993')
    assert.equals(1, n:compare(2 ^ 53))
    assert.equals(-1, n:compare(2 ^ 53 + 2))
    assert.equals(0, n:compare(9007199254740993LL))
    assert.equals(0, n:compare('9007199254740993.0'))
    assert.is_true(number('0.10'):eq(0.1))
    assert.is_false(n:eq(2 ^ 53))
    assert.is_false(n:eq({}))
    assert.is_false(n:eq(nil))
    assert.is_false(n:eq('nine'))
    assert.has_error(function() n:compare({}) end)
    assert.has_error(function() n:compare('nine') end)
    assert.has_error(function() n:compare(0 / 0) end)
  end)

  it('gives the nearest double', function()
    assert.equals(2 ^ 53, number('9007199254740993'):tonumber())
    assert.equals(123456789012345678901234567890.5,
      number('123456789012345678901234567890.5'):tonumber())
    assert.equals(math.huge, number('1e400'):tonumber())
    assert.equals(-math.huge, number('-1e400'):tonumber())
    assert.equals(0, number('1e-400'):tonumber())
    assert.equals(-1.5, number('-1.5'):tonumber())
    assert.equals(math.huge, 1 / number('-0'):tonumber())
    -- Just above the middle of two doubles, by the 60th digit.
    assert.equals(2 ^ 53 + 2, number('9007199254740993.' .. ('0'):rep(60) .. '1'):tonumber())
    assert.equals(2 ^ 53, number('9007199254740993.' .. ('0'):rep(60)):tonumber())
  end)

  it('raises in arithmetic and says what to do', function()
    local n = number('9007199254740993')
    local attempts = {
      function() return n + 1 end, function() return 1 + n end, function() return n - n end,
      function() return n * 2 end, function() return n / 2 end, function() return n % 2 end,
      function() return n ^ 2 end, function() return -n end,
    }
    for _, attempt in ipairs(attempts) do
      local ok, err = pcall(attempt)
      assert.is_false(ok)
      assert.truthy(tostring(err):find(':tonumber()', 1, true), tostring(err))
    end
    assert.has_error(function() return n < 1 end)
  end)

  it('survives being called on what it is not', function()
    local n = number('1')
    assert.has_error(function() n.tostring({}) end)
    assert.has_error(function() n.tonumber(io.stdout) end)
    assert.has_error(function() getmetatable(n).__tostring() end)
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
