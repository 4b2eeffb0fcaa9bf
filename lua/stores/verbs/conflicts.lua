--- Writes of a row that has to be the one that was read: one statement on the server, which
--- compares the etag of what is stored. Where it changed nothing, the row is looked at once more,
--- to say why.

local errors = require('stores.errors')
local etags = require('stores.etags')
local kept = require('stores.verbs.kept')
local wait = require('stores.wait')

local conflicts = {}

-- The etag that the row has now; nil: there is no such row.
local function look(self, name, id, timeout, cache)
  local _, etag = wait.slot(self.hub, self:start_find(name, id, timeout, cache, true, true))
  return etag
end

local function look_again(self, name, id, expected, timeout, cache)
  local now = look(self, name, id, timeout, cache)
  if now ~= '"' .. expected .. '"' or cache == false or self.closed ~= false then return now end
  -- the cache has what is no more: somebody wrote the row and told nobody. Who reads it again to
  -- try again would go round in a circle.
  wait.slot(self.hub, self.engine:invalidate(name, id, timeout))
  return look(self, name, id, timeout, false)
end

local function refuse(self, name, id, expected, timeout, cache, key)
  local ok, now = pcall(look_again, self, name, id, expected, timeout, cache)
  -- one that is there may have been locked: who waits for it looks at its etag after that
  if ok and now == nil and key then self:free_rows(name, { key }, {}) end
  if ok and now == '"' .. expected .. '"' then kept.refuse(self, name, id) end
  local fields = { table = name, row = id }
  local message = ('the row %s of %s is not the one that was read'):format(id, name)
  if ok then
    fields.gone, fields.etag = now == nil, now
    if now == nil then message = ('the row %s of %s is gone'):format(id, name) end
  end
  errors.raise('conflict', message, fields)
end

--- Gives what wait.slot gives of the write.
---@param self stores.Store|stores.Transaction
---@param opts table the options of the call, of which if_match is one
---@param raw boolean
---@return any ...
---Raises invalid_argument, and conflict where the row has another etag, or is gone.
function conflicts.write(self, kind, name, id, doc, opts, raw, expr, params)
  local expected = etags.check(opts.if_match, 'if_match')
  local limit, began = opts.timeout or self.timeout, self.hub:now()
  local slot, key = self:start_write(kind, name, id, doc, opts.timeout, opts.cache, raw, expr,
    params, expected, opts.etag)
  local found, inserted, document, moved, etag = wait.slot(self.hub, slot)
  if not found then
    if limit then limit = math.max(limit - (self.hub:now() - began), 0.001) end
    refuse(self, name, id, expected, limit, opts.cache, self.store and key)
  end
  return found, inserted, document, moved, etag
end

return conflicts
