--- Memory: what the engine holds for a call that waits and for a table, and that a walk over a
--- table of any size needs no more than one over a small one.
---
--- STORES_MEMORY_ROWS=1000000 walks over a million rows (some 6 s); 100,000 where it is not set.
--- STORES_MEMORY_CALLS=10000: so many wait; 4,000 where it is not set, of which each has 20 to 80
--- bytes less, for what doubles as it grows is fuller.
-- Plain pass alone: the passes need more memory by themselves.

local counter = require('spec.support.counter')
local process = require('spec.support.process')
local support = require('spec.support')

local PARKED = tonumber(os.getenv('STORES_MEMORY_CALLS')) or 4000
local ROWS = tonumber(os.getenv('STORES_MEMORY_ROWS')) or 100000

--- What the programs take as arguments.
local function where(db)
  return { db.host, db.user, db.database, support.redis().path }
end

describe('the memory of the engine #slow', function()
  local bytes = {}

  setup(function()
    local own, db = counter.new(), support.db()
    -- what waited goes on afterwards, one commit each
    support.psql(db, ('ALTER DATABASE %s SET synchronous_commit = off'):format(db.database))
    local arguments = where(db)
    arguments[#arguments + 1] = tostring(PARKED)
    local ok, output = pcall(own.run, own, 'spec/cost/parked.lua', arguments)
    support.drop(db)
    own:remove()
    assert(ok, output)
    for verb, each in output:gmatch('([^\n\t]+)\t(%d+)\t%d+\n') do bytes[verb] = tonumber(each) end
  end)

  for _, verb in ipairs({ 'find', 'find uncached', 'update', 'updateObject', 'transaction',
    'query' }) do
    it('is less than 2,000 bytes for each of the calls that wait: ' .. verb, function()
      assert.is_true(bytes[verb] > 0 and bytes[verb] < 2000, verb .. ': ' .. bytes[verb])
    end)
  end

  it('is less than 1,500 bytes for a table that is known, of a name that somebody gave', function()
    assert.is_true(bytes.table > 0 and bytes.table < 1500, 'table: ' .. bytes.table)
  end)
end)

describe('the memory of a process #slow', function()
  it('stays under 64 MB while each walks over a table', function()
    local db = support.db()
    support.psql(db, ([[CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb);
      INSERT INTO docs SELECT n, jsonb_build_object('id', n::text, 'n', n, 'name', 'user ' || n,
        'email', n || '@x.org', 'tags', '["a", "b"]'::jsonb)
      FROM generate_series(1, %d) n]]):format(ROWS))
    local words = { 'luajit', (os.getenv('STORES_ROOT') or '.') .. '/spec/cost/walk.lua' }
    for _, word in ipairs(where(db)) do words[#words + 1] = word end
    local rows, sum, most = process.start(words):wait():match('^(%d+) (%d+) (%d+)\n$')
    support.drop(db)
    assert.equal(ROWS, tonumber(rows))
    assert.equal(ROWS * (ROWS + 1) / 2, tonumber(sum))
    assert.is_true(tonumber(most) < 64 * 1024, most .. ' KB')
  end)
end)
