--- What makes PostgreSQL change rows that no statement names, each a function that gives the SQL
--- which adds it to a schema: (random, x, y, name) -> sql, or nil where it cannot be; and what it
--- does to rows that are there, which only Stores may do unsaid. x and y are tables of the schema
--- (spec/schemas/schema.lua), name is unused in it.

local features = {}

local ROWS = 6

-- A trigger's function that changes rows of y; at most two deep, so that circles end.
local function changing(y, name, ids)
  return ([[
CREATE FUNCTION %s_fn() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF pg_trigger_depth() < 3 THEN
    UPDATE %s SET value = value || jsonb_build_object('by', %d + coalesce((value->>'by')::int, 0))
      WHERE %s;
  END IF;
  RETURN coalesce(NEW, OLD);
END $$;]]):format(name, y.name, 1, ids)
end

local NEIGHBOUR = 'id = coalesce(NEW.id, OLD.id) %% ' .. ROWS .. ' + 1'
NEIGHBOUR = NEIGHBOUR:gsub('%%%%', '%%')

local function trigger(x, name, when, each)
  return ('\nCREATE TRIGGER %s %s ON %s %s EXECUTE FUNCTION %s_fn();'):format(name:gsub('.*%.', ''),
    when, x.name, each, name)
end

function features.after_row(random, x, y, name)
  local event = random:of({ 'INSERT', 'UPDATE', 'DELETE', 'INSERT OR UPDATE OR DELETE' })
  return changing(y, name, NEIGHBOUR) .. trigger(x, name, 'AFTER ' .. event, 'FOR EACH ROW')
end

function features.before_row(random, x, y, name)
  local event = random:of({ 'INSERT', 'UPDATE', 'DELETE', 'INSERT OR UPDATE' })
  return changing(y, name, NEIGHBOUR) .. trigger(x, name, 'BEFORE ' .. event, 'FOR EACH ROW')
end

function features.after_statement(random, x, y, name)
  local event = random:of({ 'INSERT', 'UPDATE', 'DELETE' })
  return changing(y, name, 'id <= 2') .. trigger(x, name, 'AFTER ' .. event, 'FOR EACH STATEMENT')
end

function features.before_statement(random, x, y, name)
  local event = random:of({ 'INSERT', 'UPDATE', 'DELETE' })
  return changing(y, name, 'id <= 2') .. trigger(x, name, 'BEFORE ' .. event, 'FOR EACH STATEMENT')
end

--- Runs inside of COMMIT, or where SET CONSTRAINTS has it.
function features.deferred(random, x, y, name)
  local event = random:of({ 'INSERT', 'UPDATE', 'DELETE' })
  return changing(y, name, NEIGHBOUR) .. ('\nCREATE CONSTRAINT TRIGGER %s AFTER %s ON %s'
    .. ' DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION %s_fn();'):format(
      name:gsub('.*%.', ''), event, x.name, name)
end

--- The same, and what it causes waits for COMMIT, too, where that is deferred.
function features.deferring(random, x, y, name)
  local sql = features.deferred(random, x, y, name)
  return (sql:gsub('BEGIN', 'BEGIN SET CONSTRAINTS ALL DEFERRED;', 1))
end

--- Would run inside of COMMIT, as a cursor that outlives it.
function features.opening(random, x, y, name)
  local event = random:of({ 'INSERT', 'UPDATE', 'DELETE' })
  return ([[
CREATE FUNCTION %s_call() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
  UPDATE %s SET value = value || '{"held": 1}'; RETURN 1;
END $$;
CREATE FUNCTION %s_fn() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  EXECUTE 'DECLARE c' || txid_current() || '_' || (random() * 1e9)::int
    || ' CURSOR WITH HOLD FOR SELECT %s_call()';
  RETURN NULL;
END $$;]]):format(name, y.name, name, name) .. trigger(x, name, 'AFTER ' .. event,
    'FOR EACH STATEMENT')
end

--- What RETURNING gives is what was stored, but not what the caller sent.
function features.rewriting(_, x, _, name)
  return ([[
CREATE FUNCTION %s_fn() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  NEW.value = NEW.value || '{"seen": true}';
  RETURN NEW;
END $$;]]):format(name) .. trigger(x, name, 'BEFORE INSERT OR UPDATE', 'FOR EACH ROW')
end

--- The row that was written is written once more.
function features.rewriting_afterwards(_, x, _, name)
  return changing(x, name, 'id = NEW.id') .. trigger(x, name, 'AFTER INSERT OR UPDATE',
    'FOR EACH ROW')
end

--- An insert of row 5 is no insert.
function features.swallowing(_, x, _, name)
  return ([[
CREATE FUNCTION %s_fn() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.id = 5 THEN RETURN NULL; END IF;
  RETURN NEW;
END $$;]]):format(name) .. trigger(x, name, 'BEFORE INSERT', 'FOR EACH ROW')
end

-- Whether x may have a key to y; partitions have them by features.cascade_of_child.
local function keyed(x, y)
  return x.kind ~= 'view' and y.kind ~= 'view' and x.kind ~= 'partitioned'
    and not x.unlogged and not y.unlogged
end

--- Row n of x goes with row n of y. NOT VALID, for rows may be there that have none.
function features.cascade(random, x, y, name)
  if x == y or not keyed(x, y) then return nil end
  local deferrable = random:chance(50) and ' DEFERRABLE INITIALLY DEFERRED' or ''
  return ('ALTER TABLE %s ADD CONSTRAINT %s FOREIGN KEY (id) REFERENCES %s (id)'
    .. ' ON DELETE CASCADE%s NOT VALID;'):format(x.name, name:gsub('.*%.', ''), y.name, deferrable)
end

--- The reference becomes null, which the document shows.
function features.set_null(_, x, y, name)
  if not keyed(x, y) then return nil end
  local short = name:gsub('.*%.', '')
  return ([[
ALTER TABLE %s ADD COLUMN %s_ref bigint REFERENCES %s (id) ON DELETE SET NULL;
CREATE FUNCTION %s_fn() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  NEW.value = NEW.value || jsonb_build_object('%s', NEW.%s_ref);
  RETURN NEW;
END $$;
CREATE TRIGGER %s BEFORE UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION %s_fn();]]):format(x.name,
    short, y.name, name, short, short, short, x.name, name),
    ('UPDATE %s SET %s_ref = id WHERE id IN (SELECT id FROM %s) AND id <= 3;'):format(x.name,
      short, y.name)
end

function features.rule(_, x, y, name)
  if x.kind == 'view' or x == y or y.rule then return nil end
  x.rule = true
  return ('CREATE RULE %s AS ON UPDATE TO %s DO ALSO UPDATE %s SET value = value ||'
    .. " '{\"rule\": 1}' WHERE id = NEW.id %% %d + 1;"):format(name:gsub('.*%.', ''), x.name,
      y.name, ROWS)
end

function features.row_security(_, x, _, name)
  if x.kind == 'view' then return nil end
  return ('ALTER TABLE %s ENABLE ROW LEVEL SECURITY; CREATE POLICY %s ON %s USING (true);'):format(
    x.name, name:gsub('.*%.', ''), x.name)
end

function features.generated(_, x, _, name)
  if x.kind == 'view' then return nil end
  return ("ALTER TABLE %s ADD COLUMN %s text GENERATED ALWAYS AS (value->>'n') STORED;"):format(
    x.name, name:gsub('.*%.', ''))
end

--- A trigger of one partition, or of a table that inherits, which the parent knows nothing of.
function features.on_child(random, x, y, name)
  if not x.child then return nil end
  local child = { name = x.child, kind = 'plain' }
  return features[random:of({ 'after_row', 'before_row', 'deferred', 'rewriting_afterwards' })](
    random, child, y, name)
end

--- A key that one partition has, or the child of a parent.
function features.cascade_of_child(_, x, y, name)
  if not x.child or x == y or y.kind == 'view' or y.unlogged then return nil end
  return ('ALTER TABLE %s ADD CONSTRAINT %s FOREIGN KEY (id) REFERENCES %s (id)'
    .. ' ON DELETE CASCADE NOT VALID;'):format(x.child, name:gsub('.*%.', ''), y.name)
end

return features
