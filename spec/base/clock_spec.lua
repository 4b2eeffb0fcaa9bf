--- Ids by the clock of the server: programs whose own clocks are wrong make ids that follow the
--- others.

local process = require('spec.support.process')
local stores = require('stores')
local support = require('spec.support')

-- Moves the clock of a program by SHIFT seconds.
local SHIM = [[
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long shift(void) {
    const char *text = getenv("SHIFT");
    return text ? atol(text) : 0;
}

int clock_gettime(clockid_t id, struct timespec *t) {
    int (*real)(clockid_t, struct timespec *) =
        (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int rc = real(id, t);
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) t->tv_sec += shift();
    return rc;
}

int gettimeofday(struct timeval *t, void *zone) {
    struct timespec now;
    (void)zone;
    int rc = clock_gettime(CLOCK_REALTIME, &now);
    t->tv_sec = now.tv_sec;
    t->tv_usec = now.tv_nsec / 1000;
    return rc;
}
]]

describe('a program whose clock is wrong #slow', function()
  local store, db, folder, program

  setup(function()
    store, db = support.store({ 'logs' }, { no_redis = true })
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute('mkdir ' .. folder) == 0)
    local file = assert(io.open(folder .. '/shim.c', 'w'))
    file:write(SHIM)
    file:close()
    local compile = ('cc -shared -fPIC -o %s/shim.so %s/shim.c -ldl'):format(folder, folder)
    assert(os.execute(compile) == 0)
    program = folder .. '/program.lua'
    file = assert(io.open(program, 'w'))
    file:write(([[
      local stores = require('stores')
      local store = stores.Store.new({ host = '%s', port = %d, user = '%s', database = '%s' })
      local first = store:insert('logs', { by = arg[1] }).id
      print(first, store:transaction(function(tx) return tx:insert('logs', {}).id end),
        store:generateId())
      store:close()
    ]]):format(db.host, db.port, db.user, db.database))
    file:close()
  end)

  teardown(function()
    os.execute('rm -rf ' .. folder)
    support.close(store, db)
  end)

  local function run(shift)
    local said = process.start({ 'env', 'SHIFT=' .. shift, 'LD_PRELOAD=' .. folder .. '/shim.so',
      'luajit', program }):wait()
    local ids = { said:match('^(%d+)%s+(%d+)%s+(%d+)%s*$') }
    assert.equal(3, #ids, said)
    return ids
  end

  it('makes ids that come after those of before, and of its own', function()
    local last = store:insert('logs', {}).id
    for _, shift in ipairs({ 0, -3600, -os.time() + 1000, 2 ^ 31, 86400, -1 }) do
      local ids = run(('%d'):format(shift))
      local page = store:findAll('logs', { after = last })
      assert.same({ ids[1], ids[2] }, { page[1].id, page[2].id })
      assert.is_true(math.abs(stores.flake.time(ids[3]) - os.time()) < 120)
      last = page[2].id
    end
  end)
end)

describe('the first insert of a program', function()
  it('makes no round trip more than another one', function()
    local store, db = support.store({ 'logs' }, { no_redis = true })
    support.close(store)
    local function round_trips(record)
      local fresh = stores.Store.new(db, nil, { cache = false })
      fresh:insert('logs', record)
      local count = fresh:stats().pg_round_trips
      support.close(fresh)
      return count
    end
    assert.equal(round_trips({ id = '1' }), round_trips({}))
    support.drop(db)
  end)

  it('tells why it has no connection', function()
    local store = stores.Store.new({ host = '/nowhere', database = 'x', user = 'x' }, nil,
      { timeout = 5 })
    local record = {}
    local err = support.refused('connect_failed', nil, store.insert, store, 'logs', record)
    assert.equal('none', err.outcome)
    assert.is_nil(record.id)
    support.close(store)
  end)
end)
