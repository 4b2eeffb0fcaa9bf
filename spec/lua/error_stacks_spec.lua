--- The stack of who called, in the errors of a store that was asked for it.

local stores = require('stores')
local support = require('spec.support')
local two = require('spec.support.shards')

local refused = support.refused

describe('the stack of who called', function()
  local store, db

  setup(function()
    local made
    made, db = support.store({ 'docs' })
    support.close(made)
    store = stores.Store.new(db, support.redis(), { traceback = true })
  end)
  teardown(function() support.close(store, db) end)

  -- What a stack calls a function without a name.
  local function line_of(fn)
    return ('error_stacks_spec.lua:%d>'):format(debug.getinfo(fn, 'S').linedefined)
  end

  local function asks_here(fn, ...)
    local results = { fn(...) }
    return unpack(results)
  end

  local function has_stack(err)
    assert.matches('^stack traceback:\n', err.traceback)
    assert.truthy(err.traceback:find(line_of(asks_here), 1, true), err.traceback)
    assert.is_nil(tostring(err):find('traceback', 1, true))
    -- the library's own functions are not between
    assert.is_nil(err.traceback:find('/lua/stores/', 1, true), err.traceback)
  end

  it('is in each error of a store that was asked for it', function()
    for name, call in pairs({
      find = function() local found = store:find('nowhere', '1') return found end,
      argument = function() local found = store:find('docs', 5) return found end,
      query = function() local rows = store:query('SELECT nothing') return rows end,
      transaction = function()
        local done = store:transaction(function(tx) tx:insert('docs', { id = 'x' }) end)
        return done
      end,
      each = function()
        local next_one = store:each('nowhere')
        local document = next_one()
        return document
      end,
      object = function()
        local made = store:updateObject('docs', '404', function() end, { must = true })
        return made
      end,
    }) do
      local ok, err = pcall(asks_here, call)
      assert.is_false(ok, name)
      has_stack(err)
    end
    local _, err = asks_here(function() return store.try:find('docs', 5) end)
    assert.matches('^stack traceback:\n', err.traceback)
  end)

  it('is that of its coroutine, of those side by side as well', function()
    stores.run(function()
      local errors = stores.map({ 'one', 'other' }, function(name)
        local ok, err = pcall(asks_here, function()
          local rows = store:query(('SELECT %s'):format(name))
          return rows
        end)
        assert.is_false(ok)
        return err
      end)
      for i, name in ipairs({ 'one', 'other' }) do
        assert.truthy(errors[i].message:find(name, 1, true))
        has_stack(errors[i])
      end
    end)
  end)

  it('is the place of the call inside of a transaction', function()
    local function changes(tx) tx:query('SELECT nothing') return true end
    local _, err = pcall(store.transaction, store, changes)
    assert.truthy(err.traceback:find(line_of(changes), 1, true), err.traceback)
  end)

  it('of shards has the place of the call, also where several are asked', function()
    local shards, databases = two.open(2, { 'docs' }, nil, { traceback = true })
    for _, call in ipairs({
      function() local all = shards:findAll('nowhere') return all end,
      function() local one = shards:find('nowhere', '1') return one end,
      function() local rows = shards:query('SELECT nothing', nil, { on = 'all' }) return rows end,
      function()
        local done = shards:transaction('1', function(tx) tx:find('nowhere', '1') end)
        return done
      end,
    }) do
      -- the middle of a deep stack is left out: a coroutine's own is not deep
      local ok, err = stores.run(function() return pcall(asks_here, call) end)
      assert.is_false(ok)
      assert.truthy(err.traceback:find(line_of(asks_here), 1, true), err.traceback)
    end
    assert.is_false((shards.try:findAll('nowhere')))
    assert.equal('11', shards:mod('11'):insert('docs', { id = '11' }).id)
    assert.is_true(shards:delete('docs', '11'))
    two.close(shards, databases)
  end)

  it('is not there where nobody asked, and leaves what others raise alone', function()
    local plain = stores.Store.new(db, support.redis())
    local _, err = pcall(plain.find, plain, 'nowhere', '1')
    assert.is_nil(err.traceback)
    support.close(plain)
    local value = {}
    local _, raised = pcall(store.transaction, store, function() error(value) end)
    assert.equal(value, raised)
    assert.is_nil(value.traceback)
    refused('invalid_option', 'opts.traceback must be true or false', stores.Store.new, db, nil,
      { traceback = 1 })
  end)

  it('changes nothing of what verbs do', function()
    assert.equal('1', store:insert('docs', { id = '1', n = 1 }).id)
    assert.same({ 1, true }, { store:find('docs', '1').n, (store.try:exists('docs', '1')) })
    local seen = {}
    for doc in store:each('docs') do seen[#seen + 1] = doc.id end
    assert.same({ '1' }, seen)
    local heard = {}
    local off = stores.on('call', function(event) heard[#heard + 1] = event.verb end)
    store:find('docs', '1')
    store:transaction(function(tx) tx:find('docs', '1') end)
    off()
    assert.same({ 'find', 'transaction' }, heard)
    refused('invalid_argument', 'call it with a colon', store.find, 'docs', '1')
  end)
end)
