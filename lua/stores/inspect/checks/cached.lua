--- doctor: what is in Redis and of no use: announcements of dead writers, epochs of tables that
--- are no more or of another run of the servers, rows of dead epochs.

local catalog = require('stores.inspect.catalog')
local counted = require('stores.inspect.counted')
local keys = require('stores.inspect.keys')
local met = require('stores.verbs.met')
local settle = require('stores.inspect.settle')

-- What Redis refuses shows in a read alone: of a table that is there, and a row that need not be.
local function check_trouble(work)
  local is_ready = met.ready(work.store)
  local trouble = work.store:stats().redis_trouble
  if not is_ready or not trouble then return end
  if trouble:find('may evict') then return end -- the policy was looked at
  work.add({ severity = 'error', code = 'trouble', text = 'Redis: ' .. trouble,
    advice = 'docs/redis.md says what a user of Redis has to be allowed; `stores why TABLE` tells '
      .. 'more' })
end

local function check_orphans(work, one)
  local orphans = keys.orphans(work.store, one)
  if #orphans == 0 then return end
  local list = {}
  for at, orphan in ipairs(orphans) do list[at] = orphan.id end
  work.add({ severity = 'warning', code = 'orphans', table = one.name,
    text = ('%s of writers that died, or are busy elsewhere, at rows of %s (%s), which are '
      .. 'read from PostgreSQL until that is over'):format(counted(#orphans, 'announcement'),
      one.name, table.concat(list, ' ', 1, math.min(#list, 5))),
    advice = 'whoever reads such a row twice takes it away; `stores doctor --fix` does',
    fix = function() return settle.orphans(work.store, one.name, one.oid, list) end })
end

local function check_epoch(work, one)
  if one.is_ours then return end
  local facts = catalog.facts(work.store, one.name, one.oid)
  if not facts or facts.uncached ~= '' then return end -- nobody will ever look at it again
  work.add({ severity = 'note', code = 'dead_epoch', table = one.name,
    text = ('the epoch of %s is of another run of the servers: what is cached of it is nobody\'s')
      :format(one.name),
    advice = 'the next read of the table makes up for it; `stores doctor --fix` does',
    fix = function() return settle.is_over(work.store, one.name, one.oid) end })
end

--- Adds what it finds.
---@param work stores.DoctorWork
return function(work)
  if not work.has_redis then return end
  check_trouble(work)
  local dead, gone, whole = 0, 0, keys.count(work.store, { stopping = work.stopping,
    progress = work.progress })
  for _, one in ipairs(whole.tables) do
    dead = dead + one.dead
    if not one.name then
      gone, dead = gone + (one.epoch.name and 1 or 0), dead + one.rows
    else
      check_orphans(work, one)
      if one.epoch.name then check_epoch(work, one) end
    end
  end
  if dead + gone > 0 then
    work.add({ severity = 'note', code = 'dead_rows', text = ('%s of dead epochs, %s of tables '
      .. 'that are no more: nobody reads them'):format(counted(dead, 'cached row'),
      counted(gone, 'epoch')),
      advice = '`stores sweep` takes them away; `stores doctor --fix` does',
      fix = function()
        keys.sweep(work.store)
        return true
      end })
  end
end
