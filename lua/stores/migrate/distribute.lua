--- Citus: tables that a migration creates become distributed tables. On plain PostgreSQL, nothing.

local distribute = {}

local CITUS = "SELECT to_regproc('create_distributed_table') IS NOT NULL AS there"

-- The tables that this very transaction created: their system columns are of its xid, which no
-- ALTER TABLE changes.
local CREATED = [[
SELECT c.oid::regclass::text AS name FROM pg_class c
JOIN pg_attribute made ON made.attrelid = c.oid AND made.attnum = -1
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = $1 AND a.attnum > 0
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
  AND made.xmin = pg_current_xact_id()::xid
  AND NOT EXISTS (SELECT FROM pg_dist_partition d WHERE d.logicalrelid = c.oid)
ORDER BY c.oid]]

--- Distributes what the transaction created, by the column that the step names.
---@param tx table in which the statements of the step ran
---@param step stores.MigrationStep
function distribute.created(tx, step)
  if not step.distribute or not tx:query(CITUS)[1].there then return end
  for _, row in ipairs(tx:query(CREATED, { step.distribute })) do
    tx:query('SELECT create_distributed_table($1::text::regclass, $2)',
      { row.name, step.distribute })
  end
end

return distribute
