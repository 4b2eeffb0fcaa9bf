--- Writes by id of several processes that meet at the same few rows: what they share transactions
--- with is random, and yet no two of them ever wait for each other in a circle, and every write
--- that was acknowledged is there.
---
--- STORES_SEGMENTS_SECONDS=60 lets each case run for a minute; 2 where it is not set.
-- Plain pass alone: processes of their own, at the speed of a user's program.

local process = require('spec.support.process')
local support = require('spec.support')

local SECONDS = os.getenv('STORES_SEGMENTS_SECONDS') or '2'
local ROWS = 60

local NAMES = { 'inc', 'update', 'updateProperty', 'insert', 'delete', 'commits', 'retries' }

describe('segments of several processes #slow', function()
  local db

  before_each(function()
    db = support.db()
    -- a circle is noticed before the lock timeout of a segment would end it in silence
    support.psql(db, ('ALTER DATABASE %s SET deadlock_timeout = %s'):format(db.database, "'3ms'"))
    support.psql(db, ([[CREATE TABLE counters (id bigint PRIMARY KEY, value jsonb);
      CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb);
      CREATE TABLE made (id bigint PRIMARY KEY, value jsonb);
      INSERT INTO counters SELECT n, jsonb_build_object('id', n::text)
        FROM generate_series(1, %d) n;
      INSERT INTO docs SELECT n, jsonb_build_object('id', n::text)
        FROM generate_series(1, %d) n;]]):format(ROWS, ROWS))
  end)

  after_each(function() support.drop(db) end)

  local function number(sql)
    return tonumber((support.psql(db, sql)))
  end

  --- What the processes say that they did, in sums.
  local function run(count)
    local workers, sums = {}, {}
    for i = 1, count do
      workers[i] = process.start({ 'luajit',
        (os.getenv('STORES_ROOT') or '.') .. '/spec/segments/worker.lua',
        db.host, db.user, db.database, support.redis().path, tostring(i), tostring(ROWS), SECONDS })
    end
    for _, worker in ipairs(workers) do
      local text = worker:wait()
      for _, name in ipairs(NAMES) do
        local value = text:match('%f[%a]' .. name .. ' (%d+)')
        assert(value, 'a process failed: ' .. text)
        sums[name] = (sums[name] or 0) + tonumber(value)
      end
    end
    return sums
  end

  local function writes(sums)
    return sums.inc + sums.update + sums.updateProperty + sums.insert + sums.delete
  end

  for _, count in ipairs({ 2, 4 }) do
    it('never wait for each other in a circle, and lose nothing: ' .. count, function()
      local sums = run(count)
      assert.is_true(writes(sums) > 500, 'only ' .. writes(sums) .. ' writes')
      assert.is_true(sums.commits < writes(sums) / 2, 'they shared no transactions')
      assert.equal(0, number('SELECT deadlocks FROM pg_stat_database '
        .. 'WHERE datname = current_database()'))
      assert.equal(sums.inc, number('SELECT sum(n::int) FROM counters, '
        .. [[jsonb_each_text(value - 'id') AS members (name, n)]]))
      assert.equal(ROWS, number([[SELECT count(*) FROM docs WHERE value ->> 'id' = id::text
        AND coalesce((value ->> 'n')::int, 1) > 0]]))
      assert.equal(sums.insert - sums.delete, number('SELECT count(*) FROM made'))
    end)
  end
end)
