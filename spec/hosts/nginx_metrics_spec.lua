--- The metrics of all workers of an nginx, in one scrape of any of them.
-- Plain pass alone: nginx is a process of its own, which no pass reaches.

local nginx = require('spec.support.nginx')
local prometheus = require('spec.support.prometheus')
local support = require('spec.support')

describe('the metrics of nginx #slow', function()
  local db, server

  lazy_setup(function()
    db = support.db()
    support.psql(db, 'CREATE TABLE rows (id bigint PRIMARY KEY, value jsonb);'
      .. "INSERT INTO rows VALUES (1, '{}')")
  end)
  lazy_teardown(function() support.drop(db) end)
  after_each(function()
    if server then server:stop() end
    server = nil
  end)

  local CONF = [[
    lua_shared_dict figures 1m;
    init_by_lua_block {
      stores = require('stores')
      function S()
        made = made or stores.Store.new({ host = '%s', port = %s, user = '%s', database = '%s' },
          nil, { cache = false, name = 'app', metrics = { dict = 'figures' } })
        return made
      end
    }
    server {
      listen @SOCKET@;
      location = /find { content_by_lua_block { S():find('rows', '1') ngx.say(ngx.worker.pid()) } }
      location = /listen { content_by_lua_block { S():listen('x', function() end) ngx.say('x') } }
      location = /metrics { content_by_lua_block {
        ngx.header.content_type = 'text/plain; version=0.0.4'
        ngx.print(stores.metrics({ dict = 'figures' })) } }
    }]]

  local function start(workers)
    server = nginx.start(CONF:format(db.host, db.port, db.user, db.database), workers)
  end

  local function finds()
    local status, text = server:request('GET', '/metrics')
    assert.equal(200, status, text .. server:log())
    local families = prometheus.read(text)
    local found = families.stores_call_seconds
      and families.stores_call_seconds.series['store="app",verb="find"']
    return found and found.count or 0, families
  end

  -- Finds until every worker has made at least one; how many that were.
  local function find_everywhere(workers)
    local seen, count, made = {}, 0, 0
    support.eventually(function()
      made = made + 1
      local pid = server:get('/find')
      if not seen[pid] then seen[pid], count = true, count + 1 end
      return count == workers
    end, 20)
    return made, seen
  end

  it('are of all workers', function()
    start(3)
    local made = find_everywhere(3)
    support.eventually(function() return finds() == made end, 20)
    local _, families = finds()
    assert.equal(3, families.stores_workers.series[''])
    assert.equal(30, families.stores_pool_size.series['store="app"'])
    assert.equal(0, families.stores_ops.series['store="app"'])
  end)

  it('keep what workers counted that died, and go on after a reload', function()
    start(2)
    local made, pids = find_everywhere(2)
    support.eventually(function() return finds() == made end, 20)
    os.execute('kill -KILL ' .. (next(pids)))
    for _ = 1, 5 do assert.equal(made, (finds())) end
    local families
    support.eventually(function() -- a killed process is there until its parent has heard of it
      families = select(2, finds())
      return families.stores_workers.series[''] == 1
    end, 20)
    assert.equal(10, families.stores_pool_size.series['store="app"'])
    server:signal('HUP')
    -- the one that nginx started in place of the dead one ends, too, and may answer until then
    support.eventually(function()
      made = made + find_everywhere(2)
      local _, now = finds()
      return now.stores_workers.series[''] == 2
    end, 20)
    support.eventually(function() return finds() == made end, 20)
  end)

  it('are told though a listener keeps the loop busy for good', function()
    start(1)
    server:get('/listen')
    for _ = 1, 20 do server:get('/find') end
    support.eventually(function() return finds() == 20 end, 20)
    local log = server:quit()
    server = nil
    assert.matches('exited with code 0', log)
    assert.is_nil(log:find('%[error%]'))
  end)
end)
