--- What an editor completes (LuaCATS): each function that a program may call says what it takes and
--- gives, each type that is named is there, and a table of options has the fields that are taken.
-- Plain pass alone: it reads files.

local core = require('stores.core')
local migrations = require('stores.migrations')
local private = require('stores.local')
local sh = require('spec.support.shell')
local sorted = require('stores.sorted')
local stores = require('stores')
local support = require('spec.support')

local root = os.getenv('STORES_ROOT') or '.'
local files, text_of = {}, {}

setup(function()
  local pipe = assert(io.popen('cd ' .. sh.quoted(root) .. ' && find lua -name "*.lua"'))
  for path in pipe:lines() do files[#files + 1] = path end
  pipe:close()
  files[#files + 1] = 'migrations.lua'
  for _, path in ipairs(files) do text_of[path] = sh.read(root .. '/' .. path) end
end)

-- The classes of all files: the fields of each, by name.
local function classes()
  local found = {}
  for _, path in ipairs(files) do
    local fields
    for line in text_of[path]:gmatch('([^\n]*)\n') do
      local class = line:match('^%-%-%-@class (stores[%w_.]*)')
      if class then
        found[class] = found[class] or {}
        fields = found[class]
      end
      local field = line:match('^%-%-%-@field ([%a_][%w_]*)')
      if field and fields then
        fields[field] = true
      elseif line:sub(1, 3) ~= '---' then
        fields = nil
      end
    end
  end
  return found
end

describe('the annotations of', function()
  it('types name types that are there', function()
    local there, missing = {}, {}
    for _, path in ipairs(files) do
      for name in text_of[path]:gmatch('\n *%-%-%-@%a+ (stores[%w_.]*)') do there[name] = true end
    end
    for _, path in ipairs(files) do
      for line in text_of[path]:gmatch('[^\n]+') do
        local given = line:match('^ *%-%-%-@[pfrto][%a]+ (.*)$')
        for name in (given or ''):gmatch('%f[%w_.](stores%.[%w_.]*[%w_])') do
          local is_type = there[name] or name:find('^stores%.%l[%w_]*$')
          if not is_type then missing[name] = true end
        end
      end
    end
    assert.same({}, sorted(missing))
  end)

  -- A function of the Lua files says each of its parameters, in a comment with a sentence.
  local function look(prefix, object, missing, shown)
    for name, fn in pairs(object) do
      if type(fn) == 'function' and not name:find('^__') and not (shown and shown[name]) then
        local info = debug.getinfo(fn, 'Su')
        local lines, at = {}, info.linedefined - 1
        for line in sh.read(info.source:sub(2)):gmatch('([^\n]*)\n') do lines[#lines + 1] = line end
        local params, has_sentence = 0, false
        while at > 0 and lines[at]:find('^%s*%-%-%-') do
          if lines[at]:find('@param', 1, true) then params = params + 1 end
          if not lines[at]:find('^%s*%-%-%-@') then has_sentence = true end
          at = at - 1
        end
        local has_self = lines[info.linedefined]:find('function [%w_.]+:')
        local wanted = info.nparams - (has_self and 1 or 0) + (info.isvararg and 1 or 0)
        if params ~= wanted or not has_sentence then missing[prefix .. name] = true end
      end
    end
  end

  it('functions are there, with all that they take', function()
    local missing, all = {}, classes()
    look('stores.', stores, missing)
    look('stores.flake.', stores.flake, missing)
    look('json.', stores.json, missing)
    look('errors.', stores.errors, missing)
    look('migrations.', migrations, missing)
    look('local.', private, missing)
    look('Store.', { new = stores.Store.new }, missing)
    all['stores.Shards'].check_usable = true -- not for programs; verbs are in lua/stores/types
    look('shards:', stores.Shards, missing, all['stores.Shards'])
    stores.run(function()
      look('task:', getmetatable(stores.spawn(function() end)).__index, missing)
    end)
    look('definition:', getmetatable(stores.define('annotated', {})).__index, missing)
    assert.same({}, sorted(missing))
  end)

  it('objects have the verbs that there are', function()
    local all, missing = classes(), {}
    local function has(class, object, also)
      for name, value in pairs(object) do
        if type(value) == 'function' and not name:find('^_') and not all[class][name]
          and not (also and all[also][name]) then
          missing[#missing + 1] = class .. ' ' .. name
        end
      end
    end
    local verbs, of_shards = {}, {}
    for _, row in ipairs(require('stores.verbs.list').verbs) do
      if row.on == 'both' or row.on == 'store' then verbs[row.name] = stores.Store[row.name] end
      of_shards[row.name] = stores.Shards[row.name]
    end
    has('stores.Store', verbs, 'stores.Verbs')
    has('stores.Shards', of_shards)
    has('stores.json.number', { compare = print, eq = print, tonumber = print, tostring = print })
    assert.same({}, missing)
  end)
end)

describe('a table of options', function()
  local store, db

  setup(function() store, db = support.store() end)
  teardown(function() support.close(store, db) end)

  local UNKNOWN = { qqqqqqqq = true }

  -- Every list of options is told by the message about an unknown one.
  local function known(fn, ...)
    local ok, err = pcall(fn, ...)
    assert.is_false(ok)
    local names = {}
    for name in assert(err.message:match('known are (.*)$'), err.message):gmatch('[%w_]+') do
      names[name] = true
    end
    return sorted(names)
  end

  it('has the fields that are taken, and no others', function()
    local all, list = classes(), {}
    local config = support.config()
    local side = { db = config }
    local taken = {
      MigrationOptions = known(migrations.runMigrations, list, store, UNKNOWN),
      VerifyOptions = known(migrations.verify, list, store, UNKNOWN),
      BaselineOptions = known(migrations.baseline, list, store, UNKNOWN),
      LintOptions = known(migrations.lint, list, nil, UNKNOWN),
      ShardsOptions = known(stores.Shards.new, { { id = 0, db = config } }, UNKNOWN),
      CopyOptions = known(stores.copy, side, side, UNKNOWN),
      TableSpec = known(stores.define, 'annotated', UNKNOWN),
      Migration = known(migrations.runMigrations, { { name = 'x', qqqqqqqq = 1 } }, store),
      ['local.Options'] = known(private.up, '/nowhere/at/all', UNKNOWN),
    }
    for class, names in pairs(taken) do
      assert.same(names, sorted(all['stores.' .. class]), class)
    end
  end)
end)

describe('an error', function()
  -- The keys of a table, as it is written.
  local function keys_of(text)
    local keys, bare = {}, text:sub(2, -2):gsub("%b''", ''):gsub('%b""', '')
    for key in bare:gsub('%b{}', ''):gsub('%b()', ''):gmatch('([%a_]+) = ') do
      keys[key] = true
    end
    return keys
  end

  it('has a code of the list, and fields that are told of', function()
    local fields, page = classes()['stores.Error'], sh.read(root .. '/docs/api.md')
    local from = assert(page:find('\n## Errors\n', 1, true))
    local told, codes, unknown = page:sub(from), {}, {}
    local function field(name, path)
      if not fields[name] or not told:find('`' .. name .. '`', 1, true) then
        unknown[name] = path
      end
    end
    for _, path in ipairs(files) do
      local text = text_of[path]
      for code in text:gmatch("errors%.raise%('([%a_]+)'") do codes[code] = path end
      for code in text:gmatch("errors%.new%('([%a_]+)'") do codes[code] = path end
      for name in text:gmatch('%f[%w_]err%.([%a_]+)[%a_., ]* = ') do field(name, path) end
      for call in text:gmatch('errors%.raise(%b())') do
        local given = call:match('.*,%s*(%b{})%)$')
        for name in pairs(given and keys_of(given) or {}) do field(name, path) end
      end
    end
    for name in pairs(fields) do field(name, 'lua/stores/errors.lua') end
    assert.same({}, unknown)
    for code, path in pairs(codes) do assert.truthy(core.codes[code], path .. ': ' .. code) end
  end)
end)
