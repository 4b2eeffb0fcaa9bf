--- Writes to declared tables. A document is checked before anything is sent. Where what the row
--- holds decides (its version, its time), one statement asks for what nearly every row is: of this
--- program's version, its time to come. Where it met no such row, and where the server computes
--- what a function is to check, the row is locked and looked at first, in a transaction.

local documents = require('stores.tables.documents')
local errors = require('stores.errors')
local expression = require('stores.sql.expression')
local json = require('stores.json')
local query = require('stores.sql.query')
local seen = require('stores.verbs.seen')
local times = require('stores.tables.times')
local versions = require('stores.tables.versions')
local wait = require('stores.wait')

local guarded = {}

---@class stores.GuardedWrite what is to be done
---@field definition stores.Definition
---@field kind 'insert'|'update'|'upsert'|'delete'|'modify'
---@field name string
---@field id string
---@field doc table?
---@field opts table
---@field raw boolean
---@field expr string? of modify
---@field params string[]?
---@field send fun(self: any, kind: string, name: string, id: string, doc: table?, opts: table,
---  raw: boolean, expr: string?, params: string[]?): ...: any the write itself

local function send(self, work, kind, doc)
  return work.send(self, kind, work.name, work.id, doc, work.opts, work.raw, work.expr, work.params)
end

-- What the server makes of a document by an expression over `value`; $1 is the id.
local function compute(tx, work, document)
  local params = { work.id, unpack(work.params) }
  params[#params + 1] = json.encode(document)
  local sql = ('SELECT id, (%s)::text FROM (SELECT $1::bigint AS id, $%d::jsonb AS value) AS given')
    :format(work.expr, #params)
  return wait.slot(tx.hub, tx:start_select(work.name, sql, params, work.opts.timeout, false))[1]
end

-- A write that the row does not get, for to its caller there is none.
local function miss(work)
  if work.opts.if_match ~= nil then
    errors.raise('conflict', ('the row %s of %s is gone'):format(work.id, work.name),
      { table = work.name, row = work.id, gone = true })
  end
  return false, false, nil
end

local writers = {}

-- A document that is past its time makes room.
function writers.insert(tx, work, row, old)
  if not row or old then return send(tx, work, 'insert', work.doc) end
  local found, _, document, moved, etag = send(tx, work, 'update', work.doc)
  return found, true, document, moved, etag
end

function writers.update(tx, work, _, old)
  if not old then return miss(work) end
  return send(tx, work, 'update', work.doc)
end

function writers.upsert(tx, work, row, old)
  if not row or old then return send(tx, work, 'upsert', work.doc) end
  if work.opts.if_match ~= nil then return miss(work) end
  return writers.insert(tx, work, row, old)
end

function writers.delete(tx, work, _, old)
  if not old then return miss(work) end
  return send(tx, work, 'delete')
end

function writers.modify(tx, work, row, old)
  if not old then
    if not row then return send(tx, work, 'modify') end
    return miss(work)
  end
  local definition = work.definition
  if not definition.validate and not definition.expires and work.version == definition.version then
    return send(tx, work, 'modify')
  end
  local made = compute(tx, work, old)
  documents.check(definition, made, old)
  work.expr, work.params = nil, nil
  local found, inserted, document, moved, etag = send(tx, work, 'update', made)
  if found and work.raw then
    document = wait.slot(tx.hub, tx:start_find(work.name, work.id, work.opts.timeout, nil, true))
  elseif found and document == nil then
    document = made
  end
  return found, inserted, document, moved, etag
end

local function locked(tx, work)
  local definition, old = work.definition, nil
  local row = tx:lock_row(work.name, work.id, work.opts.timeout)
  if row then
    old, work.version = documents.read(definition, row, seen.now(tx))
    if old and definition.version and work.kind ~= 'delete' then
      versions.check_writable(definition, work.version, work.id)
    end
  end
  return writers[work.kind](tx, work, row, old)
end

-- Whether the row is to be looked at before it is written.
local function looks(work)
  local definition, kind = work.definition, work.kind
  if kind == 'insert' then return false end
  if kind == 'delete' then return definition.expires ~= nil end
  return definition.looks or (kind == 'modify' and definition.validate ~= nil)
end

-- ---- Without a lock -----------------------------------------------------------------------------

-- Whether one statement may do: of a store that has heard the server's clock.
local function may_ask(self, work)
  local kind = work.kind
  return not self.store and work.opts.if_match == nil and self.engine:met()
    and (kind == 'update' or kind == 'delete' or kind == 'modify' and not work.definition.validate)
end

-- What a modification leaves as it is, for it is not looked at.
local function is_same(work, path)
  local made = ('(SELECT %s FROM (SELECT (%s) AS value) AS made)'):format(expression.plain(path),
    work.expr)
  return ('%s IS NOT DISTINCT FROM (%s)'):format(made, expression.plain(path))
end

-- The row that one statement may write, and the parameters of the statement behind the id.
local function condition(self, work)
  local definition, parts = work.definition, {}
  local params, add = query.new_params(work.id, unpack(work.params or { work.doc and '' or nil }))
  if definition.expires then
    local number, text = times.params(seen.now(self))
    parts[1] = times.is_to_come_sql(definition.expires, add(number, 'jsonb'), add(text, 'text'))
    if work.expr then parts[2] = is_same(work, definition.expires) end
  end
  if definition.version and work.kind ~= 'delete' then
    local member = { definition.version_member }
    local value = expression.plain(member)
    if definition.version == 1 then
      value = ("coalesce(%s, '1'::jsonb)"):format(expression.of(member))
    end
    parts[#parts + 1] = ("(%s) = '%d'::jsonb"):format(value, definition.version)
    if work.expr and definition.expires then parts[#parts + 1] = is_same(work, member) end
  end
  table.remove(params, 1)
  if work.doc then table.remove(params, 1) end -- the core has it
  return table.concat(parts, ' AND '), params
end

-- Gives what the write gives where it met such a row.
local function ask(self, work)
  local opts, sql, params = work.opts, condition(self, work)
  return wait.slot(self.hub, self:start_write(work.kind, work.name, work.id, work.doc, opts.timeout,
    opts.cache, work.raw, work.expr, params, nil, opts.etag, sql))
end

local function ask_or_look(self, work)
  local began, opts = self.hub:now(), work.opts
  local results = { ask(self, work) }
  if results[1] then return unpack(results, 1, 5) end
  local left = (opts.timeout or self.timeout) - (self.hub:now() - began)
  work.opts = setmetatable({ timeout = math.max(left, 0.001) }, { __index = opts })
  return self:in_lock(locked, work)
end

local function run(self, work)
  if work.doc then documents.check(work.definition, work.doc, nil) end
  if looks(work) then
    if may_ask(self, work) then return ask_or_look(self, work) end
    return self:in_lock(locked, work)
  end
  if work.kind ~= 'insert' or not work.definition.expires or not work.is_given then
    return send(self, work, work.kind, work.doc)
  end
  -- in a transaction an insert that fails ends it, so that one looks first
  if self.store then return self:in_lock(locked, work) end
  local results = { pcall(send, self, work, 'insert', work.doc) }
  if results[1] then return unpack(results, 2, 6) end
  local err = results[2]
  if not errors.is(err, 'duplicate') or err.constraint then errors.throw(err) end
  return self:in_lock(locked, work)
end

--- A write to a declared table. Gives what the plain write gives.
---@param self stores.Store|stores.Transaction
---@param work stores.GuardedWrite
---@return any ...
function guarded.write(self, work)
  local results = { pcall(run, self, work) }
  if results[1] then return unpack(results, 2, 6) end
  work.definition:explain(results[2])
  errors.throw(results[2])
end

--- patchWhere and deleteWhere: what of them a declared table cannot have.
---@param definition stores.Definition
---Raises unsupported.
function guarded.check_many(definition)
  if definition.looks or definition.validate then
    errors.raise('unsupported', ('patchWhere changes documents of %s that nobody has looked at')
      :format(definition.name), { table = definition.name,
      hint = 'each() with where, and patch or updateObject for each of them' })
  end
end

return guarded
