--- docs/api.md tells of all that there is: functions, options of calls, figures, codes.
-- Plain pass alone: what the page shows is in the passes of the specs that promise it.

local sh = require('spec.support.shell')
local stores = require('stores')
local support = require('spec.support')

local root = os.getenv('STORES_ROOT') or '.'

describe('docs/api.md', function()
  local text = sh.read(root .. '/docs/api.md')

  it('has the error codes of the core, and the verbs and options of their tables', function()
    assert.equal(0, os.execute(('LUA_CPATH=%s luajit %s/tools/docs.lua --check >/dev/null 2>&1')
      :format(sh.quoted(os.getenv('LUA_CPATH') or ''), sh.quoted(root))))
  end)

  it('tells of every function of a store, of shards, of json and of the module', function()
    local internal = { check_usable = true, from_config = true, in_transaction = true,
                       run_change = true, run_list = true, in_lock = true, session = true,
                       place_of = true, next_place = true, new_id = true, check_shard = true,
                       find_here = true }
    local missing = {}
    local function look(object, prefix)
      for name, value in pairs(object) do
        if type(value) == 'function' and not name:find('^_') and not name:find('^start_')
          and not internal[name] and not text:find(prefix .. name .. '(', 1, true)
          and not text:find(prefix .. name .. '{', 1, true) then
          missing[#missing + 1] = prefix .. name
        end
      end
    end
    look(stores.Store, 'store:')
    local of_shards = {} -- beside the verbs of a store, of which scaling.md tells
    for name, value in pairs(stores.Shards) do
      if not stores.Store[name] or name == 'new' then of_shards[name] = value end
    end
    look(of_shards, 'shards:')
    look(stores.json, 'json.')
    look(stores.flake, 'stores.flake.')
    look(stores, 'stores.')
    for place = #missing, 1, -1 do
      local name = missing[place]
      if name == 'store:new' or name == 'shards:new' then table.remove(missing, place) end
    end
    table.sort(missing)
    assert.same({}, missing)
    assert.is_truthy(text:find('Store.new(', 1, true) and text:find('Shards.new', 1, true))
  end)

  it('tells of every figure of stats()', function()
    local store, db = support.store()
    local missing = {}
    for name in pairs(store:stats()) do
      if not text:find('`' .. name .. '`', 1, true) then missing[#missing + 1] = name end
    end
    support.close(store, db)
    table.sort(missing)
    assert.same({}, missing)
  end)
end)
