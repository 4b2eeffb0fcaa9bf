--- Holders ack what they heard on a link on which nothing is answered; whatever that link does, no
--- write waits for a lease, and nobody reads what was.

local cache = require('spec.support.cache')
local proxy = require('spec.support.pg_proxy')
local redis = require('spec.support.redis')
local stores = require('stores')
local support = require('spec.support')

local clock = require('stores.wait').host.now

describe('a holder that acks', function()
  local server, db, store, other
  local id = '1'

  local function open(user, opts, socket)
    return stores.Store.new(db, { url = ('unix://%s:pw@%s'):format(user, socket or server.socket),
      opts = { timeout = 2 } }, opts)
  end

  setup(function()
    server = redis.start()
    for name, words in pairs({ free = {}, answered = { '-client|reply' } }) do
      assert.equal('OK', server:cli('ACL', 'SETUSER', name, 'on', '>pw', '~*', '&*', '+@all',
        unpack(words)))
    end
  end)

  teardown(function() server:remove() end)

  before_each(function()
    db = support.db()
    support.psql(db, [[CREATE TABLE routes (id bigint PRIMARY KEY, value jsonb);
      INSERT INTO routes VALUES (1, '{"n": 0}')]])
  end)

  after_each(function()
    support.close(store)
    support.close(other)
    support.drop(db)
  end)

  local function hold() cache.hold(store, 'routes', id) end

  -- How often the server was told not to answer.
  local function unanswered()
    local text = server:cli('INFO', 'commandstats')
    return tonumber(text:match('cmdstat_client|reply:calls=(%d+)') or 0)
  end

  local function write(n)
    hold()
    other:update('routes', { id = id, n = n })
    assert.equal(n, store:find('routes', id).n)
  end

  -- Writes until some acks were not answered; nobody waits for a lease.
  local function acks_unanswered()
    local before, n, evicted = unanswered(), 0, other:stats().held_evictions
    repeat
      n = n + 1
      write(n)
      assert.is_true(n < 2000)
    until unanswered() > before + 5
    assert.equal(evicted, other:stats().held_evictions)
  end

  it('is not answered', function()
    store, other = open('free', { hold = { 'routes' } }), open('free')
    acks_unanswered()
  end)

  it('is not answered after another table is held for the first time', function()
    support.psql(db, [[CREATE TABLE prices (id bigint PRIMARY KEY, value jsonb);
      INSERT INTO prices VALUES (1, '{"n": 0}')]])
    store, other = open('free', { hold = { 'routes', 'prices' }, hold_lease = 10 }), open('free')
    acks_unanswered()
    cache.hold(store, 'prices', id)
    local before = unanswered()
    write(-1)
    assert.equal(before + 1, unanswered())
  end)

  it('says it again soon where Redis refused it', function()
    store, other = open('free', { hold = { 'routes' }, hold_lease = 10 }), open('free')
    write(1) -- by HOLD, and the link for the next ones is made
    hold()
    support.eventually(function()
      local _, links = server:cli('CLIENT', 'LIST'):gsub('user=free', '')
      return links == 5 -- an ear of each, and a voice
    end)
    local done
    stores.run(function()
      server:cli('CONFIG', 'SET', 'maxmemory', '1')
      local writer = stores.spawn(function()
        local began = clock()
        other:update('routes', { id = id, n = 2 })
        done = clock() - began
      end)
      stores.spawn(function()
        while not done do
          store:find('routes', id)
          stores.sleep(0.01)
        end
      end)
      stores.sleep(0.3)
      server:cli('CONFIG', 'SET', 'maxmemory', '0')
      writer:join()
    end)
    assert.is_true(done < 2)
    assert.equal(2, store:find('routes', id).n)
  end)

  it('is heard where the server answers all the same', function()
    store, other = open('answered', { hold = { 'routes' } }), open('free')
    for n = 1, 40 do write(n) end
    assert.equal(0, other:stats().held_evictions)
    assert.equal(0, unanswered() - unanswered())
    assert.matches('client|reply', server:cli('ACL', 'LOG'), 1, true)
    assert.is_true(store:stats().redis_connects <= 1)
  end)

  it('is heard again once the server has forgotten the scripts', function()
    store, other = open('free', { hold = { 'routes' } }), open('free')
    acks_unanswered()
    for round = 1, 2 do
      server:cli('SCRIPT', 'FLUSH')
      for n = 1, 8 do write(n) end
      assert.is_true(other:stats().held_evictions <= round)
    end
    acks_unanswered()
  end)

  it('is heard again once all connections were lost', function()
    store, other = open('free', { hold = { 'routes' } }), open('free')
    acks_unanswered()
    server:cli('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
    server:cli('CLIENT', 'KILL', 'TYPE', 'pubsub')
    for n = 1, 4 do write(n) end
    assert.is_true(other:stats().held_evictions <= 1) -- of who could not say that it left
    acks_unanswered()
  end)

  it('is heard again once its connection has lost acks without a word', function()
    local between = proxy.start(server.socket)
    finally(function() between:close() end)
    store, other = open('free', { hold = { 'routes' } }, between.socket), open('free')
    acks_unanswered()
    local links, n = between:count(), 0
    between:hush()
    support.eventually(function()
      n = n + 1
      write(n)
      return between:count() > links
    end, 30, 'another connection')
    acks_unanswered()
  end)

  it('is asked for where another one acks that does not count itself out', function()
    store, other = open('free', { hold = { 'routes' } }), open('free')
    for n = 1, 5 do write(n) end -- the writer has its channel
    local hash = cache.of(db, server.socket):epoch_key('public.routes') .. '/held'
    local older = 'somewhere:1:of an older version'
    server:cli('HSET', hash, older, server:cli('HGET', hash, 'seq'))
    hold()
    local waited
    stores.run(function()
      local writer = stores.spawn(function()
        local began = clock()
        other:update('routes', { id = id, n = 6 })
        waited = clock() - began
      end)
      stores.sleep(0.05)
      server:cli('HSET', hash, older, server:cli('HGET', hash, 'seq'))
      writer:join()
    end)
    assert.is_true(waited >= 0.05)
    assert.equal(0, other:stats().held_evictions)
    assert.equal(6, store:find('routes', id).n)
    server:cli('HDEL', hash, older)
    acks_unanswered()
  end)
end)
