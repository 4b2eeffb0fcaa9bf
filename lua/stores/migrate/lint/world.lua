--- What the lint knows of the tables of a database: how large they are, which checks they have, of
--- which type a column is. Without a database, what the list itself says.

local world = {}

---@class stores.lint.World
---@field store stores.MigrationTarget? nil: there is no database
---@field large integer bytes from which on a table is large
---@field sizes table<string, table|false> by name, as they were asked
---@field made table<string, boolean> tables that the list has made by now, which are not there yet
---@field checks table<string, {table: string, text: string, is_valid: boolean}> of the list
local World = {}
World.__index = World

-- Half a second or so of reading, behind which everybody waits who wants the table.
local LARGE = 64 * 1024 * 1024

---@param store stores.MigrationTarget?
---@param opts {large: integer?}
---@return stores.lint.World
function world.new(store, opts)
  return setmetatable({ store = store, large = opts.large or LARGE, sizes = {}, made = {},
                        checks = {} }, World)
end

local SIZE = [[
SELECT coalesce((SELECT sum(pg_relation_size(relid)) FROM pg_partition_tree(c.oid)),
    pg_relation_size(c.oid))::float8 AS bytes,
  greatest((SELECT sum(greatest(p.reltuples, 0)) FROM pg_partition_tree(c.oid) t
    JOIN pg_class p ON p.oid = t.relid WHERE t.isleaf), c.reltuples, 0)::float8 AS rows
FROM pg_class c WHERE c.oid = to_regclass($1) AND c.relkind IN ('r', 'p', 'm')]]

local function quoted(name)
  return (name:gsub('[^.]+', function(part) return '"' .. part:gsub('"', '""') .. '"' end))
end

--- How large a table is; nil where it is not there, or nobody can tell.
---@param name string
---@return {bytes: number, rows: number}?
function World:size(name)
  if not self.store then return nil end
  if self.sizes[name] == nil then
    local ok, rows = pcall(self.store.query, self.store, SIZE, { quoted(name) })
    self.sizes[name] = ok and rows[1] or false
  end
  return self.sizes[name] or nil
end

--- Whether a table has no rows that anybody could wait for: the list makes it, before this.
---@param name string
---@param here table<string, boolean> tables of the same migration
---@return boolean
function World:is_new(name, here)
  if here[name] then return true end
  return self.store ~= nil and self.made[name] == true and not self:size(name)
end

--- Whether work on all rows of a table takes long, as far as anybody knows.
---@param name string?
---@param here table<string, boolean>
---@return boolean
function World:is_large(name, here)
  if not name or self:is_new(name, here) then return false end
  local size = self:size(name)
  return not size or size.bytes >= self.large
end

local UNITS = { { 1024 ^ 3, 'GB' }, { 1024 ^ 2, 'MB' }, { 1024, 'kB' } }

--- A table as messages name it, with its size.
---@param name string?
---@return string
function World:describe(name)
  local size = name and self:size(name)
  if not size then return name or 'the table' end
  local text = ('%d bytes'):format(size.bytes)
  for _, unit in ipairs(UNITS) do
    if size.bytes >= unit[1] then
      text = ('%.1f %s'):format(size.bytes / unit[1], unit[2])
      break
    end
  end
  return ('%s (about %d rows, %s)'):format(name, size.rows, text)
end

local CHECKED = [[
SELECT EXISTS (SELECT FROM pg_constraint c WHERE c.conrelid = to_regclass($1) AND c.contype = 'c'
  AND c.convalidated AND replace(lower(pg_get_constraintdef(c.oid)), '"', '')
    LIKE '%(' || lower($2) || ' is not null)%') AS checked]]

--- Whether a CHECK that was looked at for all rows says that a column is not NULL.
---@param name string
---@param column string
---@return boolean
function World:is_checked(name, column)
  for _, check in pairs(self.checks) do
    if check.table == name and check.is_valid
      and check.text:find('( ' .. column .. ' is not null )', 1, true) then
      return true
    end
  end
  if not self.store then return false end
  local ok, rows = pcall(self.store.query, self.store, CHECKED, { quoted(name), column })
  return ok and rows[1].checked
end

local TYPE = [[
SELECT format_type(a.atttypid, a.atttypmod) AS type FROM pg_attribute a
WHERE a.attrelid = to_regclass($1) AND a.attname = $2 AND NOT a.attisdropped]]

--- The type of a column, where it is known.
---@param name string
---@param column string
---@return string?
function World:type(name, column)
  if not self.store then return nil end
  local ok, rows = pcall(self.store.query, self.store, TYPE, { quoted(name), column })
  return ok and rows[1] and rows[1].type or nil
end

-- Notes what a migration has made, for those behind it.
local function note(self, found)
  if found.kind == 'create_table' or found.kind == 'create_unlogged' then
    self.made[found.tables[1] or ''] = true
  end
  for _, action in ipairs(found.actions) do
    if action.kind == 'add_constraint' and action.constraint then
      self.checks[action.constraint] = { table = found.tables[1], text = action.reader:rest(),
                                         is_valid = not action.reader:has('NOT', 'VALID') }
    elseif action.kind == 'validate' and self.checks[action.constraint] then
      self.checks[action.constraint].is_valid = true
    end
  end
end

--- Notes what a migration does, when it has been looked at.
---@param statements stores.lint.Statement[]
function World:add(statements)
  for _, found in ipairs(statements) do note(self, found) end
end

return world
