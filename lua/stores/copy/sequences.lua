--- What the sequences of the old side have given, those of the new side do not give again.

local tables = require('stores.copy.tables')

local sequences = {}

local OF_TABLE = [[
SELECT a.attname::text AS column, pg_get_serial_sequence($1, a.attname) AS sequence
FROM pg_attribute a
WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped
  AND pg_get_serial_sequence($1, a.attname) IS NOT NULL]]
local LAST = 'SELECT last_value::text AS last FROM %s WHERE is_called'
local SET = 'SELECT setval($1::regclass, greatest($2::bigint, last_value)) FROM %s'
local READ = { transaction = false, readonly = true }

-- The highest value that each column was given, by its name.
local function given(work, one)
  local highest = {}
  work.from:each(function(store)
    for _, found in ipairs(store:query(OF_TABLE, { one.name }, READ)) do
      local row = store:query(LAST:format(found.sequence), {}, READ)[1]
      local before = highest[found.column]
      if row and (not before or tables.is_less(before, row.last)) then
        highest[found.column] = row.last
      end
    end
  end)
  return highest
end

--- Sets those of a table.
---@param work stores.copy.Work
---@param one stores.copy.Table
function sequences.carry(work, one)
  local highest = given(work, one)
  if not next(highest) then return end
  work.to:each(function(store)
    for _, found in ipairs(store:query(OF_TABLE, { one.name }, READ)) do
      local last = highest[found.column]
      if last then
        store:query(SET:format(found.sequence), { found.sequence, last }, { transaction = false })
      end
    end
  end)
end

return sequences
