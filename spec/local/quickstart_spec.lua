--- examples/quickstart.lua as a newcomer runs it: over an empty folder, then over the same one.
-- Plain pass alone: a program of its own, which no pass reaches.

local json = require('stores.json')
local local_servers = require('stores.local')

local root = os.getenv('STORES_ROOT') or '.'
local program = root .. '/examples/quickstart.lua'

local function contents(path)
  local file = assert(io.open(path))
  local text = file:read('*a')
  file:close()
  return text
end

local function iso(code)
  return json.decode(contents(('/usr/share/iso-codes/json/iso_%s.json'):format(code)))[code]
end

local function count(list, key, value)
  local n = 0
  for _, item in ipairs(list) do if item[key] == value then n = n + 1 end end
  return n
end

local function run(folder)
  local command = ("luajit '%s' '%s' 2>&1; echo \"status $?\""):format(program, folder)
  local pipe = assert(io.popen(command))
  local text, status = pipe:read('*a'):match('^(.*)status (%d+)\n$')
  pipe:close()
  return tonumber(status), text
end

-- The number that a line of the output ends with, or has before its time.
local function number(text, what)
  for line in text:gmatch('[^\n]+') do
    local rest = line:sub(1, #what) == what and line:sub(#what + 1)
    local digits = rest and (rest:match('^:?%s+(%d+)$') or rest:match('^%s+(%d+) in %d+%.%d+ s$'))
    if digits then return tonumber(digits) end
  end
  error(('no line says how many "%s":\n%s'):format(what, text))
end

describe('the quickstart', function()
  local folder

  setup(function()
    folder = os.tmpname()
    os.remove(folder)
  end)

  teardown(function() os.execute(("rm -rf '%s'"):format(folder)) end)

  it('is a page of at most 80 lines', function()
    local _, lines = contents(program):gsub('\n', '\n')
    assert.is_true(lines <= 80, lines .. ' lines')
  end)

  it('does the main job on all of the real documents, twice', function()
    local languages, subdivisions = iso('639-3'), iso('3166-2')
    local scripts, currencies = iso('15924'), iso('4217')
    local all = #languages + #subdivisions + #scripts + #currencies
    local extinct, cantons = count(languages, 'type', 'E'), count(subdivisions, 'type', 'Canton')
    local swiss = 0
    for _, item in ipairs(subdivisions) do
      if item.type == 'Canton' and item.code:find('^CH%-') then swiss = swiss + 1 end
    end
    assert.is_true(all > 13000 and extinct > 500 and cantons > swiss and swiss == 26)

    for turn = 1, 2 do
      local status, text = run(folder)
      assert.equal(0, status, text)
      assert.equal(turn == 1 and 4 or 0, number(text, 'migrations that were new'))
      assert.equal(all, number(text, 'inserted documents'))
      assert.equal(all, number(text, 'found by id in PostgreSQL'))
      assert.equal(all, number(text, 'found by id through the cache'))
      assert.is_true(number(text, '  of which were in Redis') > all / 2, text)
      assert.matches("findOne {alpha_3 = 'deu'}: German, id %d+\n", text)
      assert.matches("findByJSON {type = 'Canton'}: " .. cantons .. ',', text)
      assert.equal(cantons, number(text, 'cantons given their country, by updateProperty'))
      assert.equal(swiss, number(text, 'changes to one document at once, by updateObject'))
      assert.equal(swiss, number(text, 'cantons that pay in Swiss Franc'))
      assert.equal(extinct, number(text, 'extinct languages deleted'))
      assert.equal(#languages - extinct, number(text, 'left in languages'))
      assert.equal(#subdivisions, number(text, 'left in subdivisions'))
      assert.equal(#scripts, number(text, 'left in scripts'))
      assert.equal(#currencies, number(text, 'left in currencies'))
      assert.equal('not running', local_servers.down(folder))
    end
  end)
end)
