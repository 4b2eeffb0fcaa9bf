--- What specs of migrations share: a first migration and more, what a run raises, and what it left
--- in the database.

local assert = require('luassert')

local migrating = {}

--- The migration that others go on from.
migrating.TABLE = { name = 'table', type = 'db', migration = [[
  CREATE TABLE IF NOT EXISTS test (id bigint PRIMARY KEY, value jsonb);
  CREATE INDEX IF NOT EXISTS test_value_idx ON test USING gin (value jsonb_path_ops);
]] }

--- One that inserts a row into its table.
---@param name string
---@param id integer
---@return table
function migrating.insert(name, id)
  return { name = name, migration = ("INSERT INTO test VALUES (%d, '{}')"):format(id) }
end

--- What fn raises; fails where it does not.
---@param fn function
---@param ... any its arguments
---@return any
function migrating.raised(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok, 'nothing was raised')
  return err
end

--- The same, which has to be an error of this code.
---@param code string
---@param pattern string of its message
---@param fn function
---@param ... any its arguments
---@return stores.Error
function migrating.raises(code, pattern, fn, ...)
  local err = migrating.raised(fn, ...)
  assert.equals(code, err.code, tostring(err))
  assert.truthy(err.message:find(pattern), err.message)
  return err
end

--- How many rows a table has.
---@param store stores.Store
---@param relation string
---@return integer
function migrating.count(store, relation)
  return tonumber(tostring(store:query('SELECT count(*) AS n FROM ' .. relation)[1].n))
end

---@param store stores.Store
---@param relation string
---@return boolean
function migrating.exists(store, relation)
  return store:query('SELECT to_regclass($1) IS NOT NULL AS there', { relation })[1].there
end

--- Puts a migration into the ledger, as another program of before would have.
---@param store stores.Store
---@param name string
---@param text any
---@param ran boolean
function migrating.adopt(store, name, text, ran)
  store:query('CREATE TABLE IF NOT EXISTS migrations (name varchar(1024) PRIMARY KEY,'
    .. ' migration text, ran_on timestamp, ran boolean)')
  store:query('INSERT INTO migrations VALUES ($1, $2, now(), $3)', { name, text, ran })
end

return migrating
