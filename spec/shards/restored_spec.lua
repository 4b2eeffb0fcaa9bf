--- A database of shards that is restored from a dump of another one, while programs use it: each of
--- them is refused, by the names of both, whether it runs or begins.
-- Not in the gc pass: what decides is the core, when it opens a connection.

local stores = require('stores')
local support = require('spec.support')
local three = require('spec.support.shards')

local TABLES = { 'things' }
local ours, databases, list, theirs, other_databases, other_list

before_each(function()
  ours, databases, list = three.open(2, TABLES)
  theirs, other_databases, other_list = three.open(2, TABLES)
  for _, one in ipairs({ list, other_list }) do
    for _, shard in ipairs(one) do shard.db.ping_after = 0.1 end
  end
  ours:init()
  theirs:init()
  for id = 1, 8 do
    ours:upsert('things', { id = tostring(id), whose = 'ours' })
    theirs:upsert('things', { id = tostring(id), whose = 'theirs' })
  end
end)
after_each(function()
  for _, store in ipairs(ours.shards) do store:close() end
  for _, store in ipairs(theirs.shards) do store:close() end
  for place in ipairs(databases) do
    support.drop(databases[place])
    support.drop(other_databases[place])
  end
end)

-- A dump of a database over another one, tables, rows and all.
local function restore(from, to)
  local at = "-h '%s' -p %s -U %s"
  local function server(db) return at:format(db.host, db.port, db.user) end
  local command = ("LD_PRELOAD= sh -c \"pg_dump %s -Fc %s | pg_restore %s --clean --if-exists"
    .. " -d %s\" 2>&1"):format(server(from), from.database, server(to), to.database)
  local pipe = io.popen(command)
  local text = pipe:read('*a')
  pipe:close()
  assert.equal('', text)
end

local function is_refused(text, fn)
  support.eventually(function()
    local ok, err = pcall(fn)
    return not ok and err.code == 'shard_mismatch' and err.message:find(text, 1, true)
  end)
end

describe('a shard that was restored from a dump', function()
  it('of another shard is refused, with the names of both', function()
    local running = stores.Shards.new(list)
    assert.equal('ours', running:find('things', '1').whose)
    restore(databases[1], databases[2])
    is_refused('is shard 0 of 2', function() running:find('things', '1', { cache = false }) end)
    support.refused('shard_mismatch', 'has it as shard 1 of 2', running.insert, running, 'things',
      { id = '11' })
    support.refused('shard_mismatch', 'is shard 0 of 2', running.find, running, 'things', '3')
    assert.equal('ours', running:find('things', '2').whose)
    running:close()
  end)

  it('of the same shard of another cluster is refused, too', function()
    local running = stores.Shards.new(list)
    for id = 1, 2 do assert.equal('ours', running:find('things', tostring(id)).whose) end
    restore(other_databases[2], databases[2])
    is_refused('of the cluster', function() running:find('things', '1', { cache = false }) end)
    support.refused('shard_mismatch', 'of the cluster', running.insert, running, 'things',
      { id = '11' })
    support.refused('shard_mismatch', nil, running.find, running, 'things', '3')
    running:close()
    local begun = stores.Shards.new(list)
    for _, id in ipairs({ '2', '1' }) do
      support.refused('shard_mismatch', 'of the cluster', begun.find, begun, 'things', id)
    end
    begun:close()
  end)
end)

describe('two clusters over one Redis', function()
  it('have nothing in common there', function()
    for _ = 1, 2 do
      for id = 1, 8 do
        assert.equal('ours', ours:find('things', tostring(id)).whose)
        assert.equal('theirs', theirs:find('things', tostring(id)).whose)
      end
    end
    local hits = theirs:stats().hits
    assert.is_true(hits > 0)
    ours:update('things', { id = '1', whose = 'changed' })
    ours:invalidate('things')
    assert.equal('theirs', theirs:find('things', '1').whose)
    assert.equal(hits + 1, theirs:stats().hits)
    assert.equal('changed', ours:find('things', '1').whose)
  end)
end)
