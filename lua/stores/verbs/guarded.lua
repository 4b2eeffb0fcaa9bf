--- Writes to declared tables. A document is checked before anything is sent. Where what the row
--- holds decides (its version, its time), and where the server computes what a function is to
--- check, the row is locked and looked at first, in a transaction.

local documents = require('stores.tables.documents')
local errors = require('stores.errors')
local json = require('stores.json')
local seen = require('stores.verbs.seen')
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

local function run(self, work)
  if work.doc then documents.check(work.definition, work.doc, nil) end
  if looks(work) then return self:in_lock(locked, work) end
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
