--- Changes of a table of which the first one meets a conflict, and is to be tried again.

local conflicts = {}

--- Has the first change of a row of the table, after each `again`, meet one.
---@param store stores.Store
---@param name string of the table
function conflicts.add(store, name)
  store:query(([[
    CREATE SEQUENCE tries;
    CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF nextval('tries') = 1 THEN RAISE EXCEPTION 'a conflict' USING ERRCODE = '40001'; END IF;
      RETURN NEW;
    END $$;
    CREATE TRIGGER conflict BEFORE UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION conflict()]])
    :format(name))
end

--- The next change is the first one.
---@param store stores.Store
function conflicts.again(store)
  store:query('ALTER SEQUENCE tries RESTART')
end

return conflicts
