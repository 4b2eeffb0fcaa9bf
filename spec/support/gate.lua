--- Holds writers up inside their COMMIT: the row has its intent, the server has not committed yet.
--- They write to a table `gate` too, whose deferred foreign key is looked up in COMMIT, in a row
--- that the spec has locked: a key that is only looked up changes nothing, and so nothing is asked
--- about it before. Who writes by SQL of its own is asked, and constraints are made immediate twice
--- before that; for it a trigger defers the next one, that defers a third, and this one waits for a
--- lock that the spec has, which is no write.

local stores = require('stores')
local support = require('spec.support')

local gate = {}

---@class spec.Gate
---@field db table
---@field open boolean
---@field late boolean its deadline was there before its release
local Gate = {}
Gate.__index = Gate

--- Makes what is needed in a database.
---@param store stores.Store
function gate.install(store)
  store:query([[
    CREATE TABLE bars (id bigint PRIMARY KEY);
    INSERT INTO bars VALUES (1);
    CREATE TABLE gate (id bigint PRIMARY KEY, value jsonb,
      bar bigint DEFAULT 1 REFERENCES bars DEFERRABLE INITIALLY DEFERRED);
    CREATE TABLE gate_raw (step int DEFAULT 1);
    CREATE FUNCTION gate_again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      IF NEW.step = 3 THEN
        PERFORM pg_advisory_xact_lock_shared(14);
      ELSE
        SET CONSTRAINTS gate_again DEFERRED;
        INSERT INTO gate_raw VALUES (NEW.step + 1);
      END IF;
      RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER gate_again AFTER INSERT ON gate_raw DEFERRABLE INITIALLY DEFERRED
      FOR EACH ROW EXECUTE FUNCTION gate_again()]])
end

--- Closes the gate: from now on who writes to it waits in its COMMIT. To be called in stores.run.
---@param db table
---@return spec.Gate
function gate.close(db)
  local self = setmetatable({ db = db, open = false }, Gate)
  local holds = false
  self.task = stores.spawn(function()
    local holder = stores.Store.new(db, nil, { cache = false })
    holder:transaction(function(tx)
      tx:query('SELECT pg_advisory_xact_lock(14) FROM bars FOR UPDATE')
      holds = true
      -- a spec that failed does not release it
      local deadline = holder.hub:now() + 30
      while not self.open and holder.hub:now() < deadline do stores.sleep(0.002) end
      self.late = not self.open
    end)
    holder:close()
  end)
  support.eventually(function() return holds end)
  return self
end

--- Waits until somebody is held up: a writer tells the cache before the server has its COMMIT.
function Gate:holds_somebody_up()
  support.eventually(function()
    return support.psql(self.db, 'SELECT count(*) FROM pg_stat_activity'
      .. " WHERE datname = current_database() AND wait_event_type = 'Lock'"):match('%d+') ~= '0'
  end, 60, 'a COMMIT at the gate')
end

--- Lets them go on, who were held up until now.
function Gate:release()
  self.open = true
  self.task:join()
  assert(not self.late, 'the gate was released by its deadline')
end

--- Starts a transaction that does what fn does, and then waits at the gate.
---@param store stores.Store
---@param fn fun(tx: stores.Transaction)
---@param raw boolean? fn writes by SQL of its own
---@return stores.Task
function gate.write(store, fn, raw)
  return stores.spawn(function()
    return store:transaction(function(tx)
      fn(tx)
      if raw then
        tx:query('INSERT INTO gate_raw DEFAULT VALUES')
      else
        tx:insert('gate', { id = store:generateId() })
      end
    end, { retries = 0 })
  end)
end

return gate
