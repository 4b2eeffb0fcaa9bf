--- The verbs that write, of a store and of a transaction. What differs between the two is the
--- primitive start_write, which starts a call and gives its slot. What each verb takes and gives:
--- list.lua.

local arguments = require('stores.verbs.arguments')
local check_options = require('stores.config.call').check
local conflicts = require('stores.verbs.conflicts')
local errors = require('stores.errors')
local guarded = require('stores.verbs.guarded')
local ids = require('stores.ids')
local kept = require('stores.verbs.kept')
local modify = require('stores.sql.modify')
local taken = require('stores.verbs.list').taken.store
local wait = require('stores.wait')

local writes = {}

local check, check_table = arguments.check, arguments.check_table
local check_record, record_id = arguments.check_record, arguments.record_id
local raw_of, must_find = arguments.raw_of, arguments.must_find

local GENERATED_TRIES = 5

local function send(self, kind, name, id, doc, opts, raw, expr, params)
  if opts.if_match ~= nil then
    return conflicts.write(self, kind, name, id, doc, opts, raw, expr, params)
  end
  local slot, key = self:start_write(kind, name, id, doc, opts.timeout, opts.cache, raw, expr,
    params, nil, opts.etag)
  if self.store then return self:wait_for_row(name, slot, key) end
  return wait.slot(self.hub, slot)
end

local function write(self, kind, name, id, doc, opts, expr, params, is_given)
  local raw, definition = raw_of(self, opts), self.tables[name]
  if not definition then return send(self, kind, name, id, doc, opts, raw, expr, params) end
  return guarded.write(self, { definition = definition, kind = kind, name = name, id = id,
    doc = doc, opts = opts, raw = raw, expr = expr, params = params, is_given = is_given,
    send = send })
end

-- A write that found no row, which it must.
local function must_change(self, found, opts, name, id)
  if found or not opts.must then return end
  kept.check(self, name, id, opts.timeout)
  must_find(nil, opts, name, id)
end

-- Takes an id that was made here out of a record that was not stored. Where nobody knows whether it
-- was, the id stays: it is the only way to find out.
local function take_back(record, err)
  if errors.is(err) and err.outcome == 'none' then record.id = nil end
end

-- An id that is made here has the time of the server's clock, which all processes share. The first
-- connection tells it, and the write needs one anyway. Gives the options with what is left of the
-- call's time.
local function meet(self, opts)
  local store = self.store or self
  if store.engine:met() then return opts end
  local before, most = store.hub:now(), opts.timeout
  if store ~= self then most = math.min(most or math.huge, self:rest_of_it()) end
  wait.slot(store.hub, store.engine:meet(most))
  if not opts.timeout and store ~= self then return opts end -- the transaction's own deadline
  local left = (opts.timeout or store.timeout) - (store.hub:now() - before)
  return { cache = opts.cache, etag = opts.etag, timeout = math.max(left, 0.001) }
end

-- A trigger has given the row another id.
local function move(self, name, record, id)
  record.id = id
  if self.store then self:hold_rows(name, { id }) end
end

function writes:insert(name, record, opts)
  check(self, 'insert')
  check_table(name)
  check_record(record)
  opts = check_options(opts, taken.insert)
  local given = record.id ~= nil
  if not given then opts = meet(self, opts) end
  for try = 1, GENERATED_TRIES do
    local id = given and ids.check(record.id) or self:generateId()
    record.id = id
    local ok, err, _, _, moved, etag = pcall(write, self, 'insert', name, id, record, opts, nil,
      nil, given)
    if ok then
      if moved then move(self, name, record, moved) end
      if opts.etag then return record, etag end
      return record
    end
    -- an id that was made here and is taken is drawn again; everything else is the caller's
    if given or try == GENERATED_TRIES or not errors.is(err, 'duplicate') or err.constraint then
      if not given then take_back(record, err) end
      errors.throw(err)
    end
  end
end

function writes:update(name, record, opts)
  check(self, 'update')
  check_table(name)
  check_record(record)
  opts = check_options(opts, taken.update)
  local id = record_id(record, 'update')
  record.id = id
  local found, _, _, moved, etag = write(self, 'update', name, id, record, opts)
  if moved then move(self, name, record, moved) end
  must_change(self, found, opts, name, id)
  if opts.etag then return found, etag end
  return found
end

function writes:upsert(name, record, opts)
  check(self, 'upsert')
  check_table(name)
  check_record(record)
  opts = check_options(opts, taken.upsert)
  -- an id that is made here is new: where somebody else made it too, his row is not replaced
  if record.id == nil and opts.if_match == nil then
    local _, etag = self:insert(name, record, opts)
    if opts.etag then return record, true, etag end
    return record, true
  end
  local id = record_id(record, 'upsert with if_match')
  record.id = id
  local _, inserted, _, moved, etag = write(self, 'upsert', name, id, record, opts)
  if moved then move(self, name, record, moved) end
  if opts.etag then return record, inserted, etag end
  return record, inserted
end

local function modified(self, name, id, opts, expr, params)
  local _, _, document, _, etag = write(self, 'modify', name, id, nil, opts, expr, params)
  must_change(self, document, opts, name, id)
  if opts.etag then return document, etag end
  return document
end

function writes:updateProperty(name, id, key, value, opts)
  check(self, 'updateProperty')
  check_table(name)
  opts = check_options(opts, taken.updateProperty)
  id = ids.check(id)
  local expr, params = modify.property(key, value)
  return modified(self, name, id, opts, expr, params)
end

function writes:patch(name, id, spec, opts)
  check(self, 'patch')
  check_table(name)
  opts = check_options(opts, taken.patch)
  id = ids.check(id)
  local expr, params = modify.patch(spec, id)
  return modified(self, name, id, opts, expr, params)
end

function writes:delete(name, id, opts)
  check(self, 'delete')
  check_table(name)
  opts = check_options(opts, taken.delete)
  id = ids.check(id)
  local found = write(self, 'delete', name, id, nil, opts)
  must_change(self, found, opts, name, id)
  return found
end

return writes
