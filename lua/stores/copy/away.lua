--- What has moved is put away: in schemas of its own, where the owner finds it until the database
--- is dropped. In the place of each table stands a view that raises.

local literal = require('stores.sql.expression').literal

local away = {}

-- It is asked once for a statement, before any row, also where there is none.
local REFUSED = [[
CREATE OR REPLACE FUNCTION stores_refused(state text, message text, hint text) RETURNS boolean
STABLE LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = state, MESSAGE = message, HINT = hint;
END $$]]

--- The schema that keeps what was in another one.
---@param schema string
---@return string quoted
function away.schema_of(schema)
  return '"' .. ('stores_moved_' .. schema):gsub('"', '""') .. '"'
end

--- Makes what is needed for it.
---@param tx stores.Transaction
---@param ... {schema: string}[] lists of what is put away
function away.prepare(tx, ...)
  local is_made = {}
  for _, list in ipairs({ ... }) do
    for _, one in ipairs(list) do
      if not is_made[one.schema] then
        tx:query('CREATE SCHEMA IF NOT EXISTS ' .. away.schema_of(one.schema))
        is_made[one.schema] = true
      end
    end
  end
  tx:query(REFUSED)
  tx:query('GRANT EXECUTE ON FUNCTION stores_refused(text, text, text) TO PUBLIC')
end

--- Puts a view in the place of a table, with what statements over a table may ask for.
---@param tx stores.Transaction
---@param one stores.copy.Table
---@param words string[] what it raises: a SQLSTATE, a message, a hint
function away.table(tx, one, words)
  local schema, name = away.schema_of(one.schema), '"' .. one.bare:gsub('"', '""') .. '"'
  local list = {}
  for i, word in ipairs(words) do list[i] = literal(word) end
  tx:query(('ALTER TABLE %s SET SCHEMA %s'):format(one.full, schema))
  tx:query(("CREATE VIEW %s AS SELECT *, '0'::xid AS xmax FROM %s.%s WHERE stores_refused(%s)")
    :format(one.full, schema, name, table.concat(list, ', ')))
  tx:query(('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO PUBLIC'):format(one.full))
end

return away
