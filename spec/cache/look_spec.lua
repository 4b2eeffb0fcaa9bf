--- What tools see of the cache: the names of its keys, whose epochs are, and the words of Redis.

local cache = require('spec.support.cache')
local core = require('stores.core')
local entry = require('stores.inspect.entry')
local look = require('stores.inspect.redis')
local met = require('stores.verbs.met')
local redis = require('spec.support.redis')
local row = require('stores.inspect.row')
local stores = require('stores')
local support = require('spec.support')

local refused = support.refused
local server, store, db, keys, oid

setup(function()
  server = redis.start()
  db = support.db()
  store = stores.Store.new(db, server:config({ timeout = 2 }))
  store:query('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)')
  keys = cache.of(db, server.socket)
  keys:ready(store, 'public.docs')
  oid = tonumber(keys.oids['public.docs'])
end)

teardown(function()
  support.close(store, db)
  server:remove()
end)

describe('the names of keys', function()
  it('are those that the cache uses', function()
    local epoch = keys:epoch('public.docs'):sub(2)
    assert.equal(keys:epoch_key('public.docs'), look.key(store, oid))
    for _, id in ipairs({ '1', '-1', '9223372036854775807', '-9223372036854775808' }) do
      local key = look.key(store, oid, epoch, id)
      assert.equal(keys:key('public.docs', id), key)
      assert.equal(epoch:sub(1, 16), look.part(epoch))
      assert.same({ oid = oid, part = look.part(epoch), id = id }, look.read_key(store, key))
    end
    assert.same({ oid = oid }, look.read_key(store, look.key(store, oid)))
  end)

  it('are not read out of what others have in Redis', function()
    local key = look.key(store, oid)
    for _, other in ipairs({ '', 'x', 'x' .. key, key .. '/', key .. '/e', key .. '/e/x',
      key .. '/e/01', 'mine{' .. oid .. '}' }) do
      assert.is_nil(look.read_key(store, other), other)
    end
  end)

  it('are looked for under their prefix alone, which may have braces', function()
    local own = stores.Store.new(db, server:config({ timeout = 2 }), { prefix = '{mine}:' })
    local mine = setmetatable({ prefix = '{mine}:', rows_prefix = '{mine}:' }, { __index = keys })
    mine:ready(own, 'public.docs')
    server:cli('SET', 'other{7}', '')
    local found = {}
    look.each_key(own, function(page)
      for _, key in ipairs(page) do found[key] = key:sub(1, 7) end
    end)
    assert.equal('{mine}:', found[mine:epoch_key('public.docs')])
    assert.is_nil(found['other{7}'])
    support.close(own)
  end)

  it('are not known before PostgreSQL was met, nor without a cache', function()
    local other = stores.Store.new(db, server:config())
    assert.is_nil(core.cache_key(other.engine, oid))
    refused('cache_failure', 'not met', look.key, other, oid)
    other:close()
    other = stores.Store.new(db)
    assert.is_nil(core.cache_key(other.engine, oid))
    assert.equal(0, core.cache_nodes(other.engine))
    refused('cache_failure', 'no cache', look.call, other, { node = 0 }, 'PING')
    refused('cache_failure', 'no Redis', met.must_be_ready, other)
    other:close()
  end)
end)

describe('an epoch', function()
  it('is ours, or that of another run', function()
    local text = keys:epoch('public.docs')
    assert.is_true(core.cache_is_ours(store.engine, oid, text:sub(2)))
    assert.is_false(core.cache_is_ours(store.engine, oid, ''))
    assert.is_false(core.cache_is_ours(store.engine, oid, 'x' .. text:sub(2)))
    assert.is_false(core.cache_is_ours(store.engine, oid, text:sub(2, -2) .. 'G'))
    assert.same({ state = 'valid', name = text:sub(2) }, (row.epoch(store, oid)))
    assert.equal('turning', entry.epoch('Bx').state)
    assert.equal('absent', entry.epoch(nil).state)
    assert.equal('unknown', entry.epoch('V').state)
  end)
end)

describe('an entry', function()
  it('is read by its first byte', function()
    assert.same({ state = 'value', text = '{}' }, entry.row('V{}'))
    assert.same({ state = 'none' }, entry.row('N'))
    assert.equal('lease', entry.row('Ltoken').state)
    assert.equal('absent', entry.row(nil).state)
    assert.equal('unknown', entry.row('X').state)
    assert.equal('unknown', entry.row('').state)
  end)

  it('names the transactions that announced a change, all digits', function()
    local random = ('='):rep(16)
    assert.same({ state = 'intent', xids = { '255', '18446744073709551615' }, is_clean = false },
      entry.row('T+' .. random .. ('%016x'):format(255) .. random .. ('f'):rep(16)))
    assert.is_true(entry.row('T=' .. random .. ('0'):rep(16)).is_clean)
    assert.equal('unknown', entry.row('T=' .. random).state)
    assert.equal('unknown', entry.row('T=' .. ('z'):rep(32)).state)
  end)
end)

describe('a command to Redis', function()
  local function call(...) return look.call(store, { node = 0 }, ...) end

  it('gives texts, numbers, and what is not there', function()
    server:cli('SET', 'a', 'one')
    server:cli('SET', 'b', '')
    local texts, count = call('MGET', 'a', 'none', 'b')
    assert.equal(3, count)
    assert.same({ [1] = 'one', [3] = '' }, texts)
    texts, count = call('GET', 'none')
    assert.same({ {}, 1 }, { texts, count })
    assert.same({ '3' }, (call('STRLEN', 'a')))
    assert.same({ 'PONG' }, (call('PING')))
    server:cli('DEL', 'a', 'b')
  end)

  it('gives the texts of arrays in arrays one behind the other', function()
    local texts, count = call('SCAN', '0', 'MATCH', 'nothing*', 'COUNT', '10000')
    assert.equal('0', texts[1])
    assert.equal(2, count)
    server:cli('SET', 'scan:1', 'x')
    server:cli('SET', 'scan:2', 'x')
    texts = call('SCAN', '0', 'MATCH', 'scan:*', 'COUNT', '10000')
    local found = { texts[2], texts[3] }
    table.sort(found)
    assert.same({ 'scan:1', 'scan:2' }, found)
    server:cli('DEL', 'scan:1', 'scan:2')
  end)

  it('carries any bytes', function()
    local text = 'a\0b\r\n\255'
    call('SET', 'bytes', text)
    assert.equal(text, call('GET', 'bytes')[1])
    call('DEL', 'bytes')
  end)

  it('raises what Redis refuses, which is no trouble of the cache', function()
    refused('cache_failure', 'unknown command', call, 'NOSUCH')
    refused('cache_failure', 'no such node', look.call, store, { node = 1 }, 'PING')
    assert.is_nil(store:stats().redis_trouble)
    assert.has_error(function() call('GET', 7) end)
  end)

  it('ends at its deadline, and its late answer goes to nobody', function()
    server:pause()
    local slot = core.redis(store.engine, nil, 0, { 'PING' }, 0.1)
    local ok, err = pcall(require('stores.wait').slot, store.hub, slot)
    server:resume()
    assert.is_false(ok)
    assert.equal('timeout', err.code)
    assert.is_true(met.ready(store))
    assert.same({ 'PONG' }, (call('PING')))
  end)

  it('tells which keys announce writes, and of others the state alone', function()
    local at = { look.key(store, oid, 'e', '1'), look.key(store, oid, 'e', '2'),
      look.key(store, oid, 'e', '3') }
    server:cli('SET', at[1], 'V{"long": true}')
    server:cli('SET', at[3], 'T=' .. ('x'):rep(32))
    assert.same({ [1] = 'V', [3] = 'T=' .. ('x'):rep(32) }, look.states(store, oid, at))
    server:cli('DEL', at[1], at[3])
  end)

  it('goes through all keys of the database, and of a table', function()
    local epoch = keys:epoch('public.docs'):sub(2)
    for id = 1, 600 do store:upsert('docs', { id = tostring(id) }) end
    local seen, all = {}, 0
    support.eventually(function()
      all = 0
      look.each_row(store, oid, epoch, function(page)
        for _, key in ipairs(page) do
          all = all + (seen[key] and 0 or 1)
          seen[key] = true
        end
      end)
      seen = {}
      return all >= 600
    end)
    server:cli('SET', 'mine{' .. oid .. '}', 'V')
    look.each_key(store, function(page)
      for _, key in ipairs(page) do seen[key] = true end
    end)
    assert.is_true(seen[keys:epoch_key('public.docs')])
    assert.is_true(seen[keys:key('public.docs', '600')])
    assert.is_nil(seen['mine{' .. oid .. '}'])
    local pages = 0
    look.each_key(store, function()
      pages = pages + 1
      return false
    end)
    assert.equal(1, pages)
    server:cli('DEL', 'mine{' .. oid .. '}')
  end)
end)
