--- Tables whose rows PostgreSQL changes by itself, for the harness: a write of row n of a table
--- also writes row n of its *mirror*, by a trigger or a key, in the same COMMIT. Who reads the
--- mirror has to see at least what who reads the table has to. `@` is the name of the table.

local shapes = {}

local PLAIN = 'CREATE TABLE @ (id bigint PRIMARY KEY, value jsonb);\n'
local MIRROR = 'CREATE TABLE @_mirror (id bigint PRIMARY KEY, value jsonb);\n'

local FUNCTION = [[
CREATE OR REPLACE FUNCTION @_fn() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF TG_OP = 'DELETE' THEN
    DELETE FROM @_mirror WHERE id = OLD.id;
    RETURN OLD;
  END IF;
  INSERT INTO @_mirror VALUES (NEW.id, NEW.value)
    ON CONFLICT (id) DO UPDATE SET value = excluded.value;
  RETURN NEW;
END $$;
]]

local function trigger(how, on)
  return ('CREATE %s ON %s %sFOR EACH ROW EXECUTE FUNCTION @_fn();\n'):format(how, on,
    how:find('CONSTRAINT', 1, true) and 'DEFERRABLE INITIALLY DEFERRED ' or '')
end

local AFTER = 'TRIGGER mirrors AFTER INSERT OR UPDATE OR DELETE'

---@type table<string, string>
shapes.sql = {
  ['a trigger after the row'] = PLAIN .. MIRROR .. FUNCTION .. trigger(AFTER, '@'),
  ['a trigger before the row'] = PLAIN .. MIRROR .. FUNCTION
    .. trigger('TRIGGER mirrors BEFORE INSERT OR UPDATE OR DELETE', '@'),
  ['a deferred constraint'] = PLAIN .. MIRROR .. FUNCTION .. trigger('CONSTRAINT ' .. AFTER, '@'),
  ['a cascade'] = PLAIN .. [[
CREATE TABLE @_mirror (id bigint PRIMARY KEY REFERENCES @ (id)
  ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED, value jsonb);
]] .. FUNCTION .. trigger('TRIGGER mirrors AFTER INSERT OR UPDATE', '@'),
  -- each partition has the trigger, and the parent knows nothing of it
  ['triggers of partitions'] = [[
CREATE TABLE @ (id bigint PRIMARY KEY, value jsonb) PARTITION BY HASH (id);
CREATE TABLE @_0 PARTITION OF @ FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE @_1 PARTITION OF @ FOR VALUES WITH (MODULUS 2, REMAINDER 1);
]] .. MIRROR .. FUNCTION .. trigger(AFTER, '@_0') .. trigger(AFTER, '@_1'),
}

return shapes
