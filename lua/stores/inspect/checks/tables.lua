--- doctor: tables that are not of the shape, rows that are not what they should be, indexes that
--- are missing or INVALID.

local catalog = require('stores.inspect.catalog')
local counted = require('stores.inspect.counted')
local errors = require('stores.errors')
local rows = require('stores.inspect.rows')

local MANY = 1000 -- rows: a search that reads fewer of them needs no index

local INVALID = [[
SELECT i.indexrelid::regclass::text AS name, i.indrelid::regclass::text AS "table",
  EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid)
    AS is_being_made
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid AND n.nspname NOT LIKE 'pg\_%' ORDER BY 1]]

local function check_indexes(work)
  for _, one in ipairs(catalog.ask(work.store, INVALID)) do
    if one.is_being_made then
      work.add({ severity = 'note', code = 'invalid_index', text = ('the index %s is being made')
        :format(one.name), advice = 'wait for it' })
    else
      work.add({ severity = 'warning', code = 'invalid_index', table = one.table,
        text = ('the index %s of %s is INVALID: it serves nothing, and every write pays for it')
          :format(one.name, one.table),
        advice = ('REINDEX INDEX CONCURRENTLY %s; or DROP INDEX CONCURRENTLY %s'):format(one.name,
          one.name) })
    end
  end
end

local function check_gin(work, found)
  if found.has_gin then return end
  work.add({ severity = found.rows >= MANY and 'warning' or 'note', code = 'no_gin',
    table = found.name, text = ('%s has no index over its documents: findByJSON, findByPath and '
      .. 'contains read every row'):format(found.name),
    advice = ('CREATE INDEX CONCURRENTLY ON %s USING gin (value jsonb_path_ops)'):format(
      found.name) })
end

local function of(report)
  return report.share == 1 and '' or (' of %d that were looked at'):format(report.looked)
end

local function check_rows(work, found)
  local report = rows.look(work.store, found, work.all)
  if report.no_object > 0 then
    work.add({ severity = 'error', code = 'no_object', table = found.name,
      text = ('%s%s of %s: no object, and so not to be read: %s'):format(
        counted(report.no_object, 'row'), of(report), found.name,
        table.concat(report.no_object_ids, ' ')),
      advice = ("SELECT id, value FROM %s WHERE jsonb_typeof(value) IS DISTINCT FROM 'object'; "
        .. 'change or delete them, and then `stores invalidate %s`'):format(found.name,
        found.name) })
  end
  if report.other_id > 0 then
    work.add({ severity = 'warning', code = 'other_id', table = found.name,
      text = ('%s%s of %s with the id of another one in the document, which readers by SQL see: '
        .. '%s'):format(counted(report.other_id, 'row'), of(report), found.name,
        table.concat(report.other_id_ids, ' ')),
      advice = rows.mend(found.name) .. ('; and then `stores invalidate %s`'):format(found.name) })
  end
end

local function check_table(work, found)
  local lacks = catalog.lacks(found)
  for _, lack in ipairs(lacks) do
    work.add({ severity = 'warning', code = 'shape', table = found.name,
      text = ('%s is not of the shape (id bigint PRIMARY KEY, value jsonb): %s'):format(
        found.name, lack.text), advice = lack.advice })
  end
  if found.value_type ~= 'jsonb' then return end
  if #lacks == 0 then check_gin(work, found) end
  if not found.is_locked then return check_rows(work, found) end
  work.add({ severity = 'warning', code = 'locked', table = found.name,
    text = found.name .. ' is locked by somebody (ACCESS EXCLUSIVE): who reads it waits, and its '
      .. 'rows were not looked at', advice = catalog.who_locks(found) })
end

local NO_TABLE = '42P01' -- dropped since it was listed

--- Adds what it finds.
---@param work stores.DoctorWork
return function(work)
  for _, found in ipairs(catalog.tables(work.store)) do
    if work.stopping and work.stopping() then return end
    local ok, err = pcall(check_table, work, found)
    -- one that this role may not read hides no other one
    if not ok and (not errors.is(err) or not err.sqlstate and err.code ~= 'timeout') then
      error(err, 0)
    end
    if not ok and err.sqlstate ~= NO_TABLE then
      work.add({ severity = 'error', code = err.code, table = found.name,
        text = ('the rows of %s could not be looked at: %s'):format(found.name, err.message),
        advice = 'ask as a role that may read them' })
    end
  end
  check_indexes(work)
end
