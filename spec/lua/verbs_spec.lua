--- The table of the verbs (lua/stores/verbs/list.lua) against what is there: each verb has a home
--- in Lua and a door of the core, a section of the page, definitions for editors and a spec, and
--- takes the options that the table says; and there is nothing else.
-- Plain pass alone: it reads files.

local core = require('stores.core')
local list = require('stores.verbs.list')
local stores = require('stores')
local support = require('spec.support')

local root = os.getenv('STORES_ROOT') or '.'
local Store = stores.Store
local store, db

local unwatched = {} -- the verbs, before the first hook has wrapped them
for name, verb in pairs(Store) do unwatched[name] = verb end

setup(function() store, db = support.store({ 'users' }) end)
teardown(function() support.close(store, db) end)

local sh = require('spec.support.shell')
local quoted, read = sh.quoted, sh.read

local function files(command)
  local pipe = assert(io.popen('cd ' .. quoted(root) .. ' && ' .. command))
  local names = {}
  for name in pipe:lines() do names[#names + 1] = name end
  pipe:close()
  return names
end

local function sorted(set)
  local names = {}
  for name in pairs(set) do names[#names + 1] = name end
  table.sort(names)
  return names
end

local function inside(fn)
  local results
  store:transaction(function(tx) results = { pcall(fn, tx) } end)
  assert(results[1], results[2])
  return results[2]
end

local function each_row(fn)
  for _, row in ipairs(list.verbs) do fn(row, ('%s of %s'):format(row.name, row.on)) end
end

-- Calls fn(row, what, target) with the store, the transaction or the session that has the verb.
local function each_target(fn)
  each_row(function(row, what)
    if row.on == 'both' or row.on == 'store' then fn(row, what, store) end
  end)
  inside(function(tx)
    each_row(function(row, what)
      if row.on == 'both' or row.on == 'tx' then fn(row, what, tx) end
    end)
  end)
  store:session(function(session)
    each_row(function(row, what)
      if row.on == 'session' then fn(row, what, session) end
    end)
  end)
end

-- What the checks of a verb let pass, so that they come to its options.
local VALUES = { table = 'users', id = '1', ids = {}, doc = { a = 1 }, key = 'a', value = 1,
  jsonpath = '$.a', record = { id = '1' }, changes = { inc = { a = 1 } }, fn = function() end,
  records = {}, change = function() end,
  sql = 'SELECT 1', channel = 'c' }

local function call(target, row, opts)
  local arguments = {}
  for place, argument in ipairs(row.takes) do arguments[place] = VALUES[argument.name] end
  arguments[#row.takes + 1] = opts
  return pcall(target[row.name], target, unpack(arguments, 1, #row.takes + 1))
end

describe('the table of verbs', function()
  it('has every function of a store and of a transaction that a program may call', function()
    -- how a store is made, and the primitives under the verbs
    local OTHERS = { new = true, from_config = true, check_usable = true, start_find = true,
      find_here = true, start_find_hinted = true, start_find_many = true, start_write = true,
      start_select = true, start_bulk = true, hold_rows = true, run_list = true, in_lock = true,
      store_and_commit = true, lock_row = true, rest_of_it = true, around = true, end_use = true,
      query_parts = true, wait_for_row = true, free_rows = true }
    local function unknown(class, target)
      local names = {}
      for name, value in pairs(class) do
        local known = OTHERS[name] or name:find('^__')
        each_row(function(row)
          known = known or row.name == name and (row.on == 'both' or row.on == target)
        end)
        if type(value) == 'function' and not known then names[name] = true end
      end
      return sorted(names)
    end
    assert.same({}, unknown(Store, 'store'))
    inside(function(tx) assert.same({}, unknown(getmetatable(tx).__index, 'tx')) end)
  end)

  it('names the file in which each verb is at home', function()
    each_target(function(row, what, target)
      local verb = target == store and unwatched[row.name] or target[row.name]
      local source = debug.getinfo(verb, 'S').source
      local is_own = row.on ~= 'both' or target == store
      if is_own then
        assert.equal('lua/stores/' .. row.home .. '.lua', source:match('lua/stores/.*$'), what)
      end
    end)
  end)

  it('names the door of the core that each verb goes through, and leaves none without', function()
    local hub = require('stores.wait').host.hub()
    local engine = core.engine(hub, { pg = { dbname = 'none' } })
    local tx = engine:tx(nil, 1)
    local doors = { debug.getmetatable(engine).__index, debug.getmetatable(tx).__index }
    tx:free()
    require('stores.wait').slot(hub, engine:close())
    -- which tells who waits inside of which transaction, whose locks there are, what
    -- stores.define says, what is read without a call, what migrations did, and what the
    -- databases of all shards are of
    local reached = { inside = true, levels = true, expires = true, hold = true, held = true,
      held_mark = true, held_slot_of = true, held_free_slots = true, wrote_elsewhere = true,
      expect_cluster = true }
    each_row(function(row, what)
      for _, name in ipairs(row.core or {}) do
        assert.is_truthy(doors[1][name] or doors[2][name], what .. ': ' .. name)
        reached[name] = true
      end
      assert.is_truthy(row.core or row.name == 'migrate', what)
    end)
    local left = {}
    for _, methods in ipairs(doors) do
      for name in pairs(methods) do
        if not reached[name] and not name:find('^__') then left[name] = true end
      end
    end
    assert.same({}, sorted(left))
  end)

  it('names a spec that calls each verb', function()
    local paths = {}
    for _, path in ipairs(files("find spec -name '*_spec.lua'")) do
      paths[path:match('([^/]+)_spec%.lua$')] = path
    end
    each_row(function(row, what)
      if row.is_internal then return end
      local text = read(root .. '/' .. assert(paths[row.spec], what .. ' has no spec'))
      assert.is_truthy(text:find('[.:]' .. row.name .. '[(,]') or text:find("'" .. row.name .. "'"),
        ('%s does not call %s'):format(paths[row.spec], row.name))
    end)
  end)
end)

describe('the options of a verb', function()
  it('are those of the table', function()
    each_target(function(row, what, target)
      if not row.options then return end
      local ok, err = call(target, row, { qqqqqqqq = true })
      assert.is_false(ok, what)
      assert.equal('invalid_option', err.code, what)
      local names = { unpack(list.options[row.options]) }
      table.sort(names)
      assert.equal("unknown option 'qqqqqqqq': known are " .. table.concat(names, ', '),
        err.message, what)
    end)
  end)

  it('are each known to somebody', function()
    local named = {}
    each_row(function(row) if row.options then named[row.options] = true end end)
    assert.same(sorted(list.options), sorted(named))
  end)
end)

describe('stores.on', function()
  it('tells of every verb that the table does not leave out, and of no other', function()
    local own = stores.Store.new(support.config(db.database), support.redis())
    local heard
    local off = stores.on('call', function(event) heard = event end)
    each_row(function(row, what)
      if row.on ~= 'both' and row.on ~= 'store' or row.is_internal or row.name == 'close' then
        return
      end
      heard = nil
      pcall(own[row.name], own, row.takes[1] and VALUES[row.takes[1].name])
      assert.equal(not row.untold and row.name or nil, heard and heard.verb, what)
      local first = row.takes[1]
      assert.equal(heard and first and first.name == 'table' and 'users' or nil,
        heard and heard.table, what)
    end)
    off()
    own:close()
  end)
end)

describe('docs/api.md', function()
  local page = read(root .. '/docs/api.md')

  it('has a section of each verb, which its contents lead to', function()
    for _, section in ipairs(require('tools.heads').sections()) do
      assert.is_truthy(page:find('\n##+ ' .. section .. '\n\n> '), section)
      local anchor = section:lower():gsub(' ', '-')
      assert.is_truthy(page:find(('[%s](#%s)'):format(section, anchor):gsub('%s+', '%%s+')
        :gsub('[%[%]%(%)-]', '%%%0')), 'the contents lack ' .. section)
    end
  end)
end)

describe('the definitions for editors', function()
  local definitions = {}
  for _, path in ipairs(files('find lua/stores/types -name "*.lua"')) do
    definitions[path] = read(root .. '/' .. path)
  end

  it('are Lua, which does nothing', function()
    for path, text in pairs(definitions) do
      assert.is_function(loadstring(text, path), path)
      assert.is_truthy(text:find('^%-%-%-@meta\n'), path)
      for line in text:gmatch('[^\n]+') do assert.is_truthy(line:find('^%-%-'), path) end
    end
  end)

  it('name no class that nobody declares', function()
    local declared = {}
    for _, path in ipairs(files("find lua migrations.lua -name '*.lua'")) do
      for name in read(root .. '/' .. path):gmatch('%-%-%-@%l+ (stores%.[%w_.]+)') do
        declared[name] = true
      end
    end
    local missing = {}
    for _, text in pairs(definitions) do
      for name in text:gmatch('%f[%w_.]stores%.[%u][%w_]*') do
        if not declared[name] then missing[name] = true end
      end
    end
    assert.same({}, sorted(missing))
  end)

  it('let every option be left out', function()
    for path, text in pairs(definitions) do
      for class, fields in text:gmatch('%-%-%-@class (stores%.%w+)([^\n]*\n.-)\n%f[\n%z]') do
        if class:find('Options$') or class:find('Config$') then
          for field in fields:gmatch('%-%-%-@field ([^ ]+)') do
            assert.is_truthy(field:find('%?$'), ('%s: %s of %s'):format(path, field, class))
          end
        end
      end
    end
  end)

  it('say of each verb what store.try gives instead', function()
    local missing = {}
    each_row(function(row)
      local is_of_store = row.on == 'both' or row.on == 'store'
      if is_of_store and not row.is_internal then missing[row.name] = true end
    end)
    local text = definitions['lua/stores/types/try.lua']
    for name, type in text:gmatch('@field (%w+) (fun%(self: stores%.Try[^\n]*)') do
      assert.is_true(missing[name], name)
      missing[name] = nil
      assert.is_function(store.try[name], name)
      assert.is_truthy(type:find('%(ok: boolean, [^\n]*|stores%.Error'), name)
    end
    assert.same({}, sorted(missing))
  end)
end)
