--- Holds writers up inside their COMMIT: the row has its intent, the server has not committed yet.
--- They write to a table `gate` too, whose deferred trigger waits for a lock that the spec holds.

local stores = require('stores')
local support = require('spec.support')

local gate = {}

---@class spec.Gate
---@field open boolean
local Gate = {}
Gate.__index = Gate

--- Makes what is needed in a database.
---@param store stores.Store
function gate.install(store)
  store:query([[
    CREATE TABLE gate (id bigint PRIMARY KEY, value jsonb);
    CREATE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      PERFORM pg_advisory_xact_lock_shared(815);
      IF EXISTS (SELECT FROM gate WHERE value @> '{"refuse": true}') THEN
        RAISE EXCEPTION 'refused at the gate';
      END IF;
      RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER wait_at_gate AFTER INSERT ON gate DEFERRABLE INITIALLY DEFERRED
      FOR EACH ROW EXECUTE FUNCTION wait_at_gate()]])
end

--- Closes the gate: from now on who writes to it waits in its COMMIT. To be called in stores.run.
---@param db table
---@return spec.Gate
function gate.close(db)
  local self = setmetatable({ open = false }, Gate)
  local holds = false
  self.task = stores.spawn(function()
    local holder = stores.Store.new(db, nil, { cache = false })
    holder:transaction(function(tx)
      tx:query('SELECT pg_advisory_xact_lock(815)')
      holds = true
      -- a spec that failed does not release it
      local deadline = holder.hub:now() + 10
      while not self.open and holder.hub:now() < deadline do stores.sleep(0.002) end
    end)
    holder:close()
  end)
  support.eventually(function() return holds end)
  return self
end

--- Lets them go on.
function Gate:release()
  self.open = true
  self.task:join()
end

--- Starts a transaction that does what fn does, and then waits at the gate.
---@param store stores.Store
---@param fn fun(tx: stores.Transaction)
---@return stores.Task
function gate.write(store, fn)
  return stores.spawn(function()
    return store:transaction(function(tx)
      fn(tx)
      tx:insert('gate', { id = store:generateId() })
    end, { retries = 0 })
  end)
end

return gate
