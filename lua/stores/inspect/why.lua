--- Why a table is cached or not, and what is slow about it, in words.

local catalog = require('stores.inspect.catalog')
local core = require('stores.core')
local errors = require('stores.errors')
local counted = require('stores.inspect.counted')
local expression = require('stores.sql.expression')
local indexes = require('stores.sql.indexes')
local met = require('stores.verbs.met')
local row = require('stores.inspect.row')
local rows = require('stores.inspect.rows')
local tasks = require('stores.tasks')
local who = require('stores.inspect.who')

local why = {}

---@class stores.WhyReport
---@field table string
---@field is_cached boolean
---@field reasons {code: string, text: string, advice: string?}[] why it is not, just now
---@field turns {code: string, text: string}[] which writes turn the whole table
---@field waits_for stores.Who[]? who a turn waits for
---@field lacks {text: string, advice: string}[]
---@field rows stores.RowsReport?
---@field unseen string? why the rows could not be looked at
---@field indexes {name: string, serves: string, is_valid: boolean}[]

-- ---- What its kind says -------------------------------------------------------------------------

local UNCACHED = {
  ['a view'] = 'it is a view: what it shows changes with other tables',
  ['a foreign table'] = 'it is a foreign table: who changes it is not seen from here',
  ['no table'] = 'it is no table',
  temporary = 'it is temporary: each session has its own',
  unlogged = 'it is unlogged: a crash empties it',
  ['row security'] = 'it has row security: what a row holds depends on who asks',
  ['a rule'] = 'it has a rule: what a statement does to it is not what it says',
  ['no right to read'] = 'the role of this store has no right to read it, nor what others cached',
  ['a partition'] = 'it is a partition: its rows are cached as those of the table above it',
  ['a child'] = 'it inherits from another table',
  children = 'others inherit from it without being partitions',
}

local ADVICE = {
  unlogged = 'ALTER TABLE %s SET LOGGED',
  ['row security'] = 'ALTER TABLE %s DISABLE ROW LEVEL SECURITY, where nobody needs it',
  ['no right to read'] = 'GRANT SELECT ON %s TO the role',
  ['a partition'] = 'read and write the table above it',
}

local function code_of(words) return (words:gsub(' ', '_')) end

local TRIGGERS = [[
SELECT t.tgname::text AS name, t.tgrelid::regclass::text AS "on",
  CASE WHEN t.tgtype & 2 = 2 THEN 'before' WHEN t.tgtype & 64 = 64 THEN 'in place of'
    ELSE 'after' END AS moment
FROM pg_trigger t WHERE NOT t.tgisinternal AND t.tgenabled <> 'D'
  AND t.tgrelid IN (SELECT $1::oid UNION SELECT relid FROM pg_partition_tree($1::oid::regclass))
ORDER BY t.tgname]]

local KEYS = [[
SELECT k.conname::text AS name, k.conrelid::regclass::text AS "from"
FROM pg_constraint k WHERE k.contype = 'f' AND k.confrelid = $1::oid
  AND k.confdeltype IN ('c', 'n', 'd') ORDER BY k.conname]]

-- Which writes turn it: the core says that they do, and here is what for.
local function turns_of(store, found, facts)
  local list, oid = {}, ('%d'):format(found.oid)
  local function add(code, text, ...) list[#list + 1] = { code = code, text = text:format(...) } end
  if facts.reaches then
    for _, one in ipairs(catalog.ask(store, TRIGGERS, { oid })) do
      add('trigger', 'the trigger %s runs %s each write to %s, and may change other rows', one.name,
        one.moment, one.on)
    end
    if #list == 0 then
      add('function', 'a key that is updated by others, or a check, a default, a domain or an '
        .. 'index that calls a function which may write: any write may change other rows')
    end
  end
  if facts.cascades then
    for _, one in ipairs(catalog.ask(store, KEYS, { oid })) do
      add('cascade', 'a deletion goes on to %s by the key %s', one.from, one.name)
    end
  end
  return list
end

-- ---- What Redis says ----------------------------------------------------------------------------

local TROUBLE = {
  { '^NOPERM', 'scripting', 'give the user of Redis the rights that docs/redis.md lists' },
  { 'may evict', 'eviction', 'set maxmemory-policy to noeviction or to one of volatile-*' },
  { 'no replica follows', 'alone', 'have a replica follow it, or set min-replicas-to-write to 0' },
  { 'may not ask PostgreSQL', 'nameless', 'GRANT EXECUTE ON FUNCTION pg_control_system() TO the '
    .. 'role, or give the store a prefix' },
  { 'worker of Citus', 'worker', 'have the store connect to the coordinator' },
}

-- Reads of rows that nobody has, so that none is cached: what the cache is refused shows in one of
-- them. The facts that a read needs come with the first, and a lease with one that has them.
local READS, STEP = 4, 0.03

local function provoke(store, name)
  for _ = 1, READS do
    if not pcall(store.exists, store, name, store:generateId()) then return end
    tasks.sleep(STEP)
  end
end

local function trouble_of(store)
  local text = store:stats().redis_trouble
  if not text then return nil end
  for _, known in ipairs(TROUBLE) do
    if text:find(known[1]) then
      return { code = known[2], text = 'Redis: ' .. text, advice = known[3] }
    end
  end
  return { code = 'redis', text = 'Redis: ' .. text, advice = 'see to it that Redis answers' }
end

-- The turn of a table as this process knows it, which by now takes part in it.
local function turn_of(store, oid)
  local name
  for known, facts in pairs(core.tables(store.engine)) do
    if facts.oid == oid then name = known end
  end
  for _, one in ipairs(store:stats().turning) do
    if one.table == name or one.table == 'oid ' .. oid then return one end
  end
  return nil
end

-- Seconds since when running processes know of the turn, where they share their figures.
local function known_since(name, metrics)
  if not metrics then return nil end
  local seconds
  for _, family in ipairs(require('stores.metrics').text({ folder = metrics, as = 'table' })) do
    for _, one in ipairs(family.name == 'stores_table_turning_seconds' and family.series or {}) do
      if one.labels.table == name then seconds = math.max(seconds or 0, one.value) end
    end
  end
  return seconds
end

local function turning(store, report, found, opts)
  local turn, writers = nil, {}
  -- whom it waits for is known once PostgreSQL was asked
  for _ = 1, 20 do
    turn = turn_of(store, found.oid)
    if turn and turn.waits_for ~= '{}' then writers = who.writers(store, turn.waits_for) end
    if not turn or #writers > 0 then break end
    tasks.sleep(STEP)
  end
  if not turn then return end
  report.waits_for = writers
  local since = 0
  for _, one in ipairs(writers) do since = math.max(since, one.seconds or 0) end
  since = known_since(found.name, opts.metrics) or since
  local text = 'the table turns: what is cached of it does not count'
  if since > 0 then text = ('%s, since %s'):format(text, who.duration(since)) end
  table.insert(report.reasons, { code = 'turning', text = text, seconds = since,
    advice = #writers > 0 and 'have whom it waits for commit or roll back: '
      .. 'SELECT pg_terminate_backend(PID) ends one that nobody else does' or nil })
end

local function epoch_of(store, report, found)
  local epoch, is_ours = row.epoch(store, found.oid)
  if is_ours then return end
  table.insert(report.reasons, { code = 'nobody', text = epoch.name and row.VERDICTS.nobody
    or 'nobody has read it so far', advice = 'the next read makes up for it' })
end

-- What an id may be to be asked for, though it should be bigint.
local READABLE = { bigint = true, integer = true, smallint = true }

local function cache_of(store, report, found, opts)
  local is_ready, refusal = met.ready(store)
  local facts = catalog.facts(store, found.name, found.oid)
  local function add(code, text, advice)
    table.insert(report.reasons, { code = code, text = text, advice = advice })
  end
  if not store.cached then return add('no_redis', refusal, 'give the store a Redis') end
  if facts and facts.uncached ~= '' then
    local advice = ADVICE[facts.uncached]
    add(code_of(facts.uncached), UNCACHED[facts.uncached] or facts.uncached,
      advice and advice:format(found.name))
    return
  end
  if not is_ready then
    table.insert(report.reasons, trouble_of(store) or { code = 'redis', text = refusal })
    return
  end
  -- after what its kind says, which is the nearer reason
  if not READABLE[found.id_type] or found.value_type ~= 'jsonb' then
    return add('shape', 'it is none of Stores: no verb can read its rows')
  end
  provoke(store, found.name)
  local trouble = trouble_of(store)
  if trouble then table.insert(report.reasons, trouble) end
  turning(store, report, found, opts)
  if #report.reasons == 0 then epoch_of(store, report, found) end
  report.turns = facts and turns_of(store, found, facts) or {}
end

-- ---- Indexes ------------------------------------------------------------------------------------

local LIST = indexes.SELECT .. [[ WHERE i.indrelid = $1::oid ORDER BY r.relname]]

local function serves(one)
  if not one.is_valid then return 'nothing: it is INVALID' end
  if not one.is_whole then return 'some rows alone, and so no criteria' end
  if one.method == 'gin' and one.columns[1] == 'value' then
    return 'documents that contain another (findByJSON, findByPath, contains)'
  end
  if one.columns[1] == 'id' then return 'ids' end
  local index = indexes.read(one)
  if not index then return 'nothing that Stores asks for' end
  local text = expression.show(index)
  if index.prefix then return 'prefixes of texts: ' .. text end
  return (one.is_unique and 'findBy, where and order: ' or 'where and order: ') .. text
end

local function indexes_of(store, found)
  local list = {}
  for at, one in ipairs(catalog.ask(store, LIST, { ('%d'):format(found.oid) })) do
    list[at] = { name = one.name, serves = serves(one), is_valid = one.is_valid }
  end
  return list
end

--- The codes of the reasons for which a table is not cached.
---@return table<string, true>
function why.codes()
  local codes = { turning = true, no_redis = true, redis = true, nobody = true, shape = true,
    locked = true }
  for words in pairs(UNCACHED) do codes[code_of(words)] = true end
  for _, known in ipairs(TROUBLE) do codes[known[2]] = true end
  return codes
end

-- ---- The whole ----------------------------------------------------------------------------------

--- Looks at a table.
---@param store stores.Store
---@param name string
---@param opts? {all: boolean?, metrics: string?} metrics: the folder in which running processes
--- leave their figures
---@return stores.WhyReport
---Raises table_not_found.
function why.look(store, name, opts)
  opts = opts or {}
  local found = catalog.table(store, name)
  local report = { table = found.name, reasons = {}, turns = {}, lacks = catalog.lacks(found),
    indexes = found.is_locked and {} or indexes_of(store, found) }
  if found.is_locked then
    report.reasons[1] = { code = 'locked', text = 'somebody has locked it (ACCESS EXCLUSIVE): who '
      .. 'reads it waits, and nothing else can be told', advice = catalog.who_locks(found) }
    report.is_cached = false
    return report
  end
  cache_of(store, report, found, opts)
  report.is_cached = #report.reasons == 0
  local holds_rows = found.kind == 'r' or found.kind == 'p'
  if holds_rows and found.id_type and found.value_type == 'jsonb' then
    local ok, seen = pcall(rows.look, store, found, opts.all)
    if ok then
      report.rows = seen
    elseif errors.is(seen) and seen.sqlstate then
      -- a role that may not read them hears the rest
      report.unseen = seen.message
    else
      error(seen, 0)
    end
  end
  return report
end

local function add_rows(add, report)
  local seen = report.rows
  if report.unseen then add('its rows could not be looked at: %s', report.unseen) end
  if not seen then return end
  add('looked at: %s, %s', counted(seen.looked, 'row'), seen.share == 1 and 'all of the table'
    or ('%.2g %% of the table'):format(seen.share * 100))
  if seen.no_object > 0 then
    add('  no object: %s: %s', counted(seen.no_object, 'row'),
      table.concat(seen.no_object_ids, ' '))
  end
  if seen.other_id > 0 then
    add('  the id of another row: %s: %s', counted(seen.other_id, 'row'),
      table.concat(seen.other_id_ids, ' '))
  end
end

--- A report as lines.
---@param report stores.WhyReport
---@return string[]
function why.lines(report)
  local lines = {}
  local function add(text, ...) lines[#lines + 1] = text:format(...) end
  add('%s is %s', report.table, report.is_cached and 'cached' or 'not cached just now:')
  for _, reason in ipairs(report.reasons) do
    add('  %s', reason.text)
    if reason.advice then add('    %s', reason.advice) end
  end
  for _, one in ipairs(report.waits_for or {}) do add('  it waits for %s', who.words(one)) end
  if #report.turns > 0 then add('what turns it, so that the next reads ask PostgreSQL:') end
  for _, one in ipairs(report.turns) do add('  %s', one.text) end
  for _, one in ipairs(report.lacks) do add('%s: %s', one.text, one.advice) end
  if #report.indexes > 0 then add('its indexes serve') end
  for _, one in ipairs(report.indexes) do add('  %s: %s', one.name, one.serves) end
  add_rows(add, report)
  return lines
end

return why
