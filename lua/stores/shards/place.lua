--- Which shard a database is: a row that it has itself, so that a list of shards with another
--- count, with two hosts in each other's place, or with a database of another cluster is found out.
--- The core looks at it whenever it opens a connection (core/pg/shard.h), and refuses what is not
--- what the list says; here it is written, and the shards are compared with each other.

local configs = require('stores.config.made')
local errors = require('stores.errors')
local json = require('stores.json')
local random = require('stores.random')
local tasks = require('stores.tasks')
local wait = require('stores.wait')

local place = {}

---@class stores.shards.Place
---@field shard integer
---@field count integer
---@field strategy string its name, and its version where it has one
---@field cluster string

local CREATE = [[
  CREATE TABLE IF NOT EXISTS stores_shard (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    shard integer NOT NULL,
    count integer NOT NULL,
    strategy text NOT NULL,
    version text,
    cluster text NOT NULL,
    CHECK (shard >= 0 AND shard < count))]]
local LOCK = "SELECT pg_advisory_xact_lock(hashtext('stores_shard'))"
local INSERT = [[
  INSERT INTO %s (shard, count, strategy, version, cluster) VALUES ($1, $2, $3, $4, $5)
  ON CONFLICT DO NOTHING]]
-- Where it is (core/pg/shard.h): where search_path looks for it; otherwise in another schema, which
-- may be another shard's.
local MARK = [[
  SELECT quote_ident(n.nspname) || '.stores_shard' AS name,
    n.nspname = ANY (current_schemas(false)) AS is_here
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relname = 'stores_shard' AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    AND n.nspname !~ '^pg_'
  ORDER BY array_position(current_schemas(false), n.nspname), c.oid LIMIT 1]]
-- Which database of which run of a server, and where in it tables are looked for. Everybody may ask
-- it; a server that is a copy of another one has another run.
local WHERE = [[
  SELECT oid || '/' || pg_postmaster_start_time() || '/' || coalesce(current_schema(), '') AS at
  FROM pg_database WHERE datname = current_database()]]
-- What a copy says there: the table has these columns from the first one on (copy/marks.lua).
local STATE = [[SELECT to_jsonb(s) ->> 'state' AS state, to_jsonb(s) ->> 'why' AS why,
  to_jsonb(s) ->> 'copy' AS copy FROM %s AS s]]
local READ = [[SELECT shard, count, strategy || coalesce(' ' || version, '') AS strategy, cluster
  FROM %s]]

local function refuse(shard, message, ...)
  errors.raise('shard_mismatch', ('shard %d: '):format(shard) .. message:format(...),
    { shard = shard })
end

local function ask(store, sql, timeout)
  return wait.slot(store.hub, store.engine:query(sql, {}, { transaction = false,
    readonly = true }, timeout or store.timeout))[1]
end

-- What the table says, and its name; `rows` gives the first row of a text. What one says that is
-- not where search_path looks, and not of this shard, stands behind that.
local function find(store, rows)
  local flat = configs[store] -- those of a store that is closed meanwhile are gone
  local mark = rows(MARK)
  if not mark then return nil, nil, nil end
  local found = rows(READ:format(mark.name))
  if not mark.is_here and not (found and found.shard == flat.shard_id
    and found.count == flat.shard_count and found.strategy == flat.shard_strategy) then
    return nil, nil, found
  end
  return found, mark.name, nil
end

--- What the database says now, asked of it.
---@param store stores.Store
---@param timeout number?
---@return stores.shards.Place? nil: nothing
---@return stores.shards.Place? other what it says in another schema
function place.read(store, timeout)
  local found, _, other = find(store, function(sql) return ask(store, sql, timeout) end)
  return found, other
end

--- What a copy says in the database of a store; nil: it is no shard.
---@param store stores.Store
---@return {state: string|userdata, why: string|userdata, copy: string|userdata}?
function place.state(store)
  if not place.met(store) then return nil end
  local mark = ask(store, MARK)
  return mark and ask(store, STATE:format(mark.name))
end

--- Whether it is a shard that a copy was to fill which was given up: it has no rows, and nobody but
--- the next copy uses it. Its store takes whatever database it is of.
---@param store stores.Store
---@return boolean
function place.is_given_up(store)
  local flat = configs[store]
  local found, state = place.read(store), place.state(store)
  return found ~= nil and found.shard == flat.shard_id and found.count == flat.shard_count
    and found.strategy == flat.shard_strategy and state.state == 'unfinished'
    and state.copy == json.null
end

--- Where a shard is: two that say the same are in one database.
---@param store stores.Store
---@param timeout number?
---@return string
function place.where(store, timeout)
  return ask(store, WHERE, timeout).at
end

--- Two shards that are in one database.
---@param where table<integer, string?> by the place of the shard; nil: nobody knows
---@param count integer
---@return integer? at the place of the second one; nil: there are no two
---@return integer? other
function place.shared(where, count)
  local of = {}
  for at = 1, count do
    local other = where[at] and of[where[at]]
    if other then return at, other end
    if where[at] then of[where[at]] = at end
  end
end

--- Refuses shards of which two are in one database.
---@param where table<integer, string?> by the place of the shard; nil: nobody knows
---@param count integer
---Raises shard_mismatch.
function place.apart(where, count)
  local at, other = place.shared(where, count)
  if at then refuse(at - 1, 'its database is that of shard %d', other - 1) end
end

--- What the database said when the last connection to it was opened; one is, where there is none.
---@param store stores.Store
---@param timeout number?
---@return stores.shards.Place?
---Raises shard_mismatch.
function place.met(store, timeout)
  if not store.engine:met() then
    wait.slot(store.hub, store.engine:meet(timeout or store.timeout))
  end
  return store:stats().shard
end

---@class stores.shards.Cluster the id that all its databases have
---@field id string
---@field is_given boolean the list says it, or a database has it
local Cluster = {}
Cluster.__index = Cluster

--- The cluster of shards: the one that their options name, or that a database says; a new one
--- otherwise.
---@param shards stores.Shards
---@param found table<integer, stores.shards.Place?> by the place of the shard
---@return stores.shards.Cluster
---Raises shard_mismatch.
function place.cluster(shards, found)
  local id, of = shards.cluster, nil
  for at = 1, shards.size do
    local one = found[at]
    if one and id and one.cluster ~= id then
      refuse(at - 1, 'its database is of the cluster %s, and %s', one.cluster,
        of and ('that of shard %d of the cluster %s'):format(of, id)
          or ('the list is of the cluster ' .. id))
    elseif one then
      id, of = one.cluster, at - 1
    end
  end
  return setmetatable({ id = id or random.name(shards.shards[1]), is_given = id ~= nil }, Cluster)
end

--- Writes which shard its database is into it, where it does not say so itself.
---@param store stores.Store of a shard
---Raises shard_mismatch.
function Cluster:settle(store)
  local flat = configs[store]
  local found = store:transaction(function(tx)
    local function rows(sql) return tx:query(sql)[1] end
    tx:query(LOCK)
    local there, name = find(store, rows)
    if there then return there end
    if not name then
      tx:query(CREATE)
      name = rows(MARK).name
      tx:query(('GRANT SELECT ON %s TO PUBLIC'):format(name)) -- every store of it looks
    end
    tx:query(INSERT:format(name), { flat.shard_id, flat.shard_count, flat.strategy.name,
      flat.strategy.version or json.null, self.id })
    return rows(READ:format(name))
  end)
  if found.shard ~= flat.shard_id or found.count ~= flat.shard_count
    or found.strategy ~= flat.shard_strategy then
    refuse(flat.shard_id, 'its database is shard %d of %d, by %s', found.shard, found.count,
      found.strategy)
  elseif found.cluster ~= self.id and self.is_given then
    refuse(flat.shard_id, 'its database is of the cluster %s, and not of %s', found.cluster,
      self.id)
  end
  self.id, self.is_given = found.cluster, true
end

-- Compares what two databases say. One may have been told only since it was asked; what others find
-- out while this waits does not change what it compares.
local function compare(shards, at, other, timeout)
  local said = { [at] = shards.places[at], [other] = shards.places[other] }
  for silent, speaks in pairs({ [at] = other, [other] = at }) do
    if said[speaks] and not said[silent] then
      said[silent] = place.read(shards.shards[silent], timeout) or false
      shards.places[silent] = said[silent] or shards.places[silent]
    end
    if said[speaks] and not said[silent] then
      shards.health[silent].ready = false
      refuse(silent - 1, 'its database does not say which shard it is, and that of shard %d does: '
        .. 'shards:init() tells it, where it is the right one', speaks - 1)
    end
  end
  if said[at] and said[at].cluster ~= said[other].cluster then
    refuse(at - 1, 'its database is of the cluster %s, and that of shard %d of the cluster %s',
      said[at].cluster, other - 1, said[other].cluster)
  end
end

local function same_database(a, b)
  return a:match('^[^/]*/[^/]*') == b:match('^[^/]*/[^/]*')
end

-- Where a database says nothing but in another schema: that is a shard's that is there, too, or its
-- own, which nobody has told to this one.
local function look_elsewhere(shards, at, timeout)
  local _, other = place.read(shards.shards[at], timeout)
  local store = other and shards.shards[other.shard + 1]
  if not store or other.shard == at - 1 then return end
  if not same_database(shards.where[at], place.where(store, timeout)) then
    refuse(at - 1, 'its database is shard %d of %d, which stands in a schema that is not in '
      .. 'search_path', other.shard, other.count)
  end
end

-- What the database of a shard says of itself. Others may find that out meanwhile, of one that was
-- told only since this asked.
local function learn(shards, at, timeout)
  local said = place.met(shards.shards[at], timeout) or shards.places[at]
  if not said then
    shards.where[at] = place.where(shards.shards[at], timeout)
    place.apart(shards.where, shards.size)
    look_elsewhere(shards, at, timeout)
  end
  shards.places[at] = said or shards.places[at] or false
end

-- Those that have not been asked yet.
local function unknown_but(shards, at)
  local list = {}
  for other = 1, shards.size do
    local is_met = shards.places[other] ~= nil or (shards.unmet[other] or 0) >= shards.breaker
    if other ~= at and not is_met and not shards.shards[other].closed then
      list[#list + 1] = other
    end
  end
  return list
end

-- Side by side, where coroutines can be left to wait; otherwise one after the other.
local function for_each(list, concurrency, fn)
  if #list > 1 and not (wait.host.task() and not wait.host.parks()) then
    return tasks.map(list, fn, { concurrency = math.min(concurrency, #list) })
  end
  for i = 1, #list do fn(list[i]) end
end

-- Asks the other shards, too: a list that is wrong is so for all of them. Those that do not answer
-- take no more than half of a call's time, and `breaker` of all calls: each is looked at before its
-- own first call, and compared with these.
local function learn_others(shards, at, timeout)
  local most = math.min(timeout / 2, shards.breaker)
  local mismatch
  for_each(unknown_but(shards, at), shards.concurrency, function(other)
    local ok, err = pcall(learn, shards, other, most)
    if errors.is(err, 'shard_mismatch') then
      err.shard = other - 1
      if not mismatch or err.shard < mismatch.shard then mismatch = err end
    elseif not ok then
      local waited = errors.is(err, 'timeout') and most or shards.breaker
      shards.unmet[other] = (shards.unmet[other] or 0) + waited
    end
  end)
  if mismatch then errors.throw(mismatch) end
end

--- What shards do before the first call of one: whether its database says what those of the others
--- say, and each of those what the list says.
---@param shards stores.Shards
---@param at integer the place of the shard
---@param timeout number
---Raises shard_mismatch.
function place.check(shards, at, timeout)
  local known = shards.places
  learn(shards, at, timeout)
  learn_others(shards, at, timeout)
  for other = 1, shards.size do
    if known[other] ~= nil and other ~= at then compare(shards, at, other, timeout) end
  end
end

return place
