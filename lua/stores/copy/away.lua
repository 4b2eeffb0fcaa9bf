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

-- A name has 63 bytes, and the server cuts what is longer: two schemas that begin alike would be
-- put into one. So a name that would be long has a hash of the whole in the place of its end: it
-- has 63 bytes then, which one that is short does not reach.
local NAME = [[quote_ident('stores_moved_' || CASE WHEN octet_length(%s) < 50 THEN %s
  ELSE rpad(regexp_replace(left(%s, 17), '[^A-Za-z0-9_]', '_', 'g'), 17, '_') || '_'
    || left(encode(sha256(convert_to(%s, getdatabaseencoding())), 'hex'), 32) END)]]

--- An expression of the name, quoted, of the schema that keeps what was in another one.
---@param name string an expression: the name of that one, of the type text
---@return string sql
function away.schema_of(name)
  return NAME:format(name, name, name, name)
end

--- Makes what is needed for it.
---@param tx stores.Transaction
---@param ... {away: string}[] lists of what is put away
function away.prepare(tx, ...)
  local is_made = {}
  for _, list in ipairs({ ... }) do
    for _, one in ipairs(list) do
      if not is_made[one.away] then
        tx:query('CREATE SCHEMA IF NOT EXISTS ' .. one.away)
        is_made[one.away] = true
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
  local name = '"' .. one.bare:gsub('"', '""') .. '"'
  local list = {}
  for i, word in ipairs(words) do list[i] = literal(word) end
  tx:query(('ALTER TABLE %s SET SCHEMA %s'):format(one.full, one.away))
  tx:query(("CREATE VIEW %s AS SELECT *, '0'::xid AS xmax FROM %s.%s WHERE stores_refused(%s)")
    :format(one.full, one.away, name, table.concat(list, ', ')))
  tx:query(('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO PUBLIC'):format(one.full))
end

return away
