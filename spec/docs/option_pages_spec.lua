--- The pages tell of every option that is taken, and of none that is not.
-- Plain pass alone: it reads files.

local migrations = require('stores.migrations')
local sh = require('spec.support.shell')
local sorted = require('stores.sorted')
local stores = require('stores')
local support = require('spec.support')
local told = require('tools.told')

local root = os.getenv('STORES_ROOT') or '.'

local function page(name) return sh.read(('%s/docs/%s.md'):format(root, name)) end

local UNKNOWN = { qqqqqqqq = true }

-- Every list of options is told by the message about an unknown one.
local function known(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  local names = {}
  for name in assert(err.message:match('known are (.*)$'), err.message):gmatch('[%w_]+') do
    names[name] = true
  end
  return names
end

describe('a table of options in', function()
  local store, db, config, redis

  setup(function()
    store, db = support.store()
    config, redis = support.config(), support.redis()
  end)
  teardown(function() support.close(store, db) end)

  local function same(expected, keys)
    assert.same(sorted(expected), sorted(keys))
  end

  it('api.md has what makes a store, and a copy', function()
    local keys, new = told.keys(page('api')), stores.Store.new
    same(known(new, UNKNOWN), keys.db)
    same(known(new, config, redis, UNKNOWN), keys.opts)
    same(known(new, config, { path = '/x', opts = UNKNOWN }), keys['redis.opts'])
    same(known(new, config, { path = '/x', opts = { tls = UNKNOWN } }), keys['redis.opts.tls'])
    local of_redis, text = known(new, config, UNKNOWN), page('api')
    for name in pairs(keys.redis) do assert.is_true(of_redis[name], name) end
    text = text:match('\n### redis\n(.-)\n### ')
    for name in pairs(of_redis) do assert.truthy(text:find('`' .. name .. '`', 1, true), name) end
    local side = { db = config }
    same(known(stores.copy, side, side, UNKNOWN), keys.Shards)
  end)

  it('tables.md has what a table may be declared with', function()
    same(known(stores.define, 'told', UNKNOWN), told.keys(page('tables'))['What may be said'])
  end)

  it('scaling.md has what shards take', function()
    same(known(stores.Shards.new, { { id = 0, db = config } }, UNKNOWN),
      told.keys(page('scaling')).Shards)
  end)

  it('migrations.md has what an entry may have, and a run takes', function()
    local keys = told.keys(page('migrations'))
    local entry = known(migrations.runMigrations, { { name = 'x', qqqqqqqq = 1 } }, store)
    local of_entry = { replaces = true } -- of checkpoints: a sentence
    for _, heading in ipairs({ 'An entry', 'Backfills' }) do
      for name in pairs(keys[heading]) do of_entry[name] = true end
    end
    same(entry, of_entry)
    assert.truthy(page('migrations'):find('`replaces = { names }`', 1, true))
    same(known(migrations.runMigrations, {}, store, UNKNOWN), keys.Options)
  end)

  it('migrations.md is not the only place: its sentences have those of what looks', function()
    local text = page('migrations')
    for what, names in pairs({
      plan = known(migrations.plan, {}, store, UNKNOWN),
      status = known(migrations.status, {}, store, UNKNOWN),
      verify = known(migrations.verify, {}, store, UNKNOWN),
      baseline = known(migrations.baseline, {}, store, UNKNOWN),
      lint = known(migrations.lint, {}, nil, UNKNOWN),
      test = known(migrations.test, {}, UNKNOWN),
      new = known(migrations.new, '/x', 'x', UNKNOWN),
    }) do
      for name in pairs(names) do
        assert.truthy(text:find('%f[%w_]' .. name .. '%f[^%w_]'), what .. ': ' .. name)
      end
    end
  end)
end)
