--- Calls of updateObject that are stored together, while memory runs out behind what was sent: what
--- is said of the outcome is what became of it.

local errors = require('stores.errors')
local json = require('stores.json')
local stores = require('stores')
local support = require('spec.support')
local wait = require('stores.wait')

describe('updateObject, of calls that are stored together,', function()
  local CALLS = 12
  local store, db, hub
  local replaced = {} -- what puts functions back that others stand in place of
  local numbers = {}
  for i = 1, CALLS do numbers[i] = i end

  -- One of its own each: after a conflict a store locks the row for a second.
  before_each(function()
    store, db = support.store({ 'docs' })
    hub = debug.getmetatable(store.hub).__index
    store:upsert('docs', { id = '1', n = 0 })
  end)
  after_each(function()
    for _, restore in ipairs(replaced) do restore() end
    replaced = {}
    support.close(store, db)
  end)

  local function add_one(doc)
    doc.n = doc.n + 1
    doc.last = doc.n == 4 * CALLS or nil
  end

  -- Some batches, behind each other: all but the first ones take no lock.
  local function run()
    local results = {}
    for round = 1, 4 do
      results[round] = stores.map(numbers, function()
        local ok, doc = pcall(store.updateObject, store, 'docs', '1', add_one)
        return { ok = ok, doc = doc }
      end)
    end
    return results
  end

  local function instead(of, name, with)
    local before = of[name]
    of[name] = function(...) return with(before, ...) end -- luacheck: ignore 122
    replaced[#replaced + 1] = function() of[name] = before end
  end

  -- Whether what stands in place of a function was called by a file of updateObject's.
  local function called_by(name)
    return debug.getinfo(3, 'S').source:find(('updates/%s.lua'):format(name), 1, true)
  end

  local function count(results, which)
    local found = 0
    for _, round in ipairs(results) do
      for _, result in ipairs(round) do found = found + (which(result) and 1 or 0) end
    end
    return found
  end

  local function outcomes(results)
    assert.equal(4 * CALLS, store:find('docs', '1', { cache = false }).n)
    return count(results, function(result) return result.ok and result.doc.n end),
      count(results, function(result)
        return not result.ok and errors.is(result.doc, 'no_memory')
          and result.doc.outcome == 'committed'
      end),
      count(results, function(result)
        return not result.ok and errors.is(result.doc, 'abandoned')
          and result.doc.outcome == 'unknown'
      end)
  end

  it('says committed to who cannot be given its document', function()
    instead(json, 'decode', function(decode, text, ...)
      if called_by('batch') and text:find('"last"', 1, true) then error('not enough memory', 0) end
      return decode(text, ...)
    end)
    local given, committed = outcomes(run())
    assert.equal(4 * CALLS - 1, given)
    assert.equal(1, committed)
  end)

  it('needs none to go on while the server works', function()
    local asked = 0
    instead(hub, 'sleep', function(sleep, ...)
      if called_by('optimistic') then
        asked = asked + 1
        errors.raise('no_memory')
      end
      return sleep(...)
    end)
    assert.equal(4 * CALLS, (outcomes(run())))
    assert.is_true(asked > 0)
  end)

  it('says unknown to who cannot wait for what others store for it', function()
    local asked = 0
    instead(hub, 'sleep', function(sleep, ...)
      if called_by('object') then
        asked = asked + 1
        if asked % 3 == 0 then errors.raise('no_memory') end
      end
      return sleep(...)
    end)
    local results = run()
    local given = count(results, function(result) return result.ok end)
    local unknown = count(results, function(result)
      return not result.ok and result.doc.outcome == 'unknown'
    end)
    local stored = store:find('docs', '1', { cache = false }).n
    assert.is_true(asked > 3 and given < 4 * CALLS)
    assert.is_true(given <= stored and stored <= given + unknown,
      ('%d of %d, %d unknown'):format(stored, given, unknown))
  end)

  it('says unknown to others where it ran out for who stored the row', function()
    local failed = 0
    for _, name in ipairs({ 'rest', 'slot' }) do -- with the lock, or without
      instead(wait, name, function(wait_for, ...)
        local values = { wait_for(...) }
        if type(values[3]) == 'string' and values[3]:find('"last"', 1, true) then
          failed = failed + 1
          error('not enough memory', 0)
        end
        return unpack(values, 1, 5)
      end)
    end
    local results = run()
    local given, committed, unknown = outcomes(results)
    assert.is_true(failed > 0)
    assert.equal(failed, count(results, function(result)
      return result.doc == 'not enough memory'
    end))
    assert.equal(4 * CALLS, given + committed + unknown + failed)
    assert.is_true(unknown > 0)
  end)
end)
