--- A connection of its own without a transaction, for what belongs to a session: advisory locks,
--- and statements that refuse transactions.

local core = require('stores.core')
local errors = require('stores.errors')
local frames = require('stores.updates.frames')
local query = require('stores.sql.query')
local statements = require('stores.sql.statements')
local taken = require('stores.verbs.list').taken.session
local wait = require('stores.wait')

local session = {}

---@class stores.Session
local Session = {}
Session.__index = Session

function Session:query(text, params, opts)
  wait.host.check()
  local call, several = statements.check(text, params, opts, taken.query, 'session')
  if statements.go_apart(several) and core.is_citus(self.engine) then
    local rows, affected
    for _, part in ipairs(several) do
      rows, affected = wait.slot(self.hub, self.tx:query(part.text, {}, call,
        call.timeout or self.timeout, call.raw))
    end
    return rows, affected
  end
  call.simple = #several > 1
  return wait.slot(self.hub, self.tx:query(text, query.params(params), call,
    call.timeout or self.timeout, call.raw))
end

local function roll_back(own)
  wait.slot(own.hub, own.tx:rollback(5))
end

local function finish(own, ...)
  pcall(roll_back, own)
  own.tx:free()
  return ...
end

local function run(own, fn)
  return finish(own, pcall(fn, own))
end

local function give(ok, ...)
  if not ok then errors.throw((...)) end
  return ...
end

local function dropped(frame)
  frame.tx:free()
end

--- Runs fn(session) with a connection of its own and no transaction. The connection is closed
--- afterwards.
---@param store stores.Store
---@param fn fun(session: stores.Session): any
---@param opts {timeout: number?}
---@return any ...
function session.run(store, fn, opts)
  local tx = store.engine:tx({ session = true })
  local own = setmetatable({ hub = store.hub, tx = tx, engine = store.engine,
    timeout = opts.timeout }, Session)
  return give(frames.run(store.hub, { dropped = dropped, tx = tx }, run, own, fn))
end

return session
