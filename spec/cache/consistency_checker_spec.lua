--- The checker of the live harness, on histories made by hand: each one that could not have
--- happened is refused, for the right reason.
-- Plain pass alone: plain Lua over no server.

local checker = require('spec.consistency.checker')

-- A call of row 1: read 3 from second 1 to second 2 is read(3, 1, 2).
local function read(version, began, ended)
  return { row = 1, kind = 'read', outcome = 'done', version = version, began = began,
    ended = ended, writer = 1 }
end

local function write(version, began, ended, writer)
  return { row = 1, kind = 'write', outcome = 'done', version = version, began = began,
    ended = ended, writer = writer or 1 }
end

local function open(began, version)
  return { row = 1, kind = 'write', outcome = 'open', began = began, version = version, writer = 1 }
end

local function none(began, ended)
  return { row = 1, kind = 'write', outcome = 'none', began = began, ended = ended, writer = 1 }
end

local function final(version, by) return { [1] = { version = version, by = by } } end

local function assert_refused(why, calls, options)
  local violations = checker.check(calls, options)
  assert.is_true(#violations > 0, 'the checker saw nothing')
  assert.matches(why, table.concat(violations, '\n'))
end

local function assert_allowed(calls, options)
  assert.same({}, checker.check(calls, options))
end

describe('The checker allows', function()
  it('a read of what is acknowledged', function()
    assert_allowed({ write(1, 1, 2), read(1, 3, 4) }, { final = final(1, { 1 }) })
  end)

  it('a read beside a write to see it or not', function()
    assert_allowed({ write(1, 1, 5), read(0, 2, 3) })
    assert_allowed({ write(1, 1, 5), read(1, 2, 3) })
  end)

  it('a write whose outcome nobody knows to be done, late, or never', function()
    local calls = { open(1), read(0, 2, 3) }
    assert_allowed(calls, { final = final(0, {}) })
    assert_allowed(calls, { final = final(1, { 1 }) })
    assert_allowed({ open(1), read(0, 2, 3), read(1, 4, 5) }, { final = final(1, { 1 }) })
  end)

  it('rows to be independent', function()
    local other = read(0, 3, 4)
    other.row = 2
    assert_allowed({ write(1, 1, 2), other })
  end)

  it('a stale read that began inside the window', function()
    assert_allowed({ write(1, 1, 2), read(0, 3, 4) }, { window = { 2.5, 3.5 } })
  end)

  it('a call as long as its deadline, and as long as its writer was stopped', function()
    assert_allowed({ read(0, 1, 5.9) }, { deadline = 5 })
    assert_allowed({ read(0, 1, 7.9) }, { deadline = 5, pauses = { [1] = 2 } })
  end)
end)

describe('The checker refuses', function()
  it('a read that is older than an acknowledged write', function()
    assert_refused('stale', { write(1, 1, 2), read(0, 3, 4) })
  end)

  it('a read that is older than an earlier read', function()
    assert_refused('stale', { write(1, 1, 9), read(1, 2, 3), read(0, 4, 5) })
  end)

  it('a stale read after the window', function()
    assert_refused('stale', { write(1, 1, 2), read(0, 3, 4) }, { window = { 2, 2.5 } })
  end)

  it('a read of a version that no write can have made yet', function()
    assert_refused('from nowhere', { write(1, 1, 2), read(2, 3, 4), write(2, 5, 6) })
  end)

  it('a read of a version whose write began later', function()
    assert_refused('from the future', { open(1), read(1, 2, 3), write(1, 4, 5) })
  end)

  it('a read of what a write did that said it did nothing', function()
    assert_refused('from nowhere', { none(1, 2), read(1, 3, 4) })
  end)

  it('two writes that made one version', function()
    assert_refused('one version', { write(1, 1, 2, 1), write(1, 1, 2, 2) })
  end)

  it('a write that went back behind an acknowledged one', function()
    assert_refused('an update was lost',
      { write(1, 1, 2), write(2, 3, 4), write(3, 3, 6), write(2, 7, 8) })
  end)

  it('an acknowledged write that is not in the row at the end', function()
    assert_refused('lost: row 1 has 1 of the 2', { write(1, 1, 2), write(2, 3, 4) },
      { final = final(1, { 1 }) })
  end)

  it('the write of one writer that took the place of another', function()
    assert_refused('lost: row 1 has 0 of the 1', { write(1, 1, 2, 1), write(2, 3, 4, 2) },
      { final = final(2, { 0, 2 }) })
  end)

  it('a write that was done twice', function()
    assert_refused('2 writes of writer 1, of which 1 are done', { write(1, 1, 2) },
      { final = final(2, { 2 }) })
  end)

  it('a write that was done though it said that it was not', function()
    assert_refused('1 writes of writer 1, of which 0 are done', { none(1, 2) },
      { final = final(1, { 1 }) })
  end)

  it('a version that is not the sum of its writes', function()
    assert_refused('row 1 is at version 3, after 2 writes', { write(1, 1, 2), write(2, 3, 4) },
      { final = final(3, { 2 }) })
  end)

  it('a document that nobody wrote', function()
    local call = read(1, 3, 4)
    call.outcome = 'torn'
    assert_refused('torn', { write(1, 1, 2), call })
  end)

  it('a row that is there, and was not found', function()
    assert_refused('a row was missed', { read(false, 1, 2) })
  end)

  it('a call that is beyond its deadline', function()
    assert_refused('late by 1.0 s', { read(0, 1, 7) }, { deadline = 5 })
  end)
end)

describe('For a row that comes and goes the checker', function()
  local function check(calls, version)
    return { calls, { lives = { true }, final = version ~= nil and final(version, {}) or nil } }
  end

  it('allows it to be there or not as its one writer made it', function()
    assert_allowed(unpack(check({ read(false, 0, 1), write(1, 1, 2), read(1, 3, 4), write(2, 5, 6),
      read(false, 7, 8), write(3, 9, 12), read(false, 10, 11), read(3, 10, 11) }, 3)))
  end)

  it('allows what is not known to be either', function()
    assert_allowed(unpack(check({ write(1, 1, 2), open(3, 2), read(1, 4, 5), read(false, 6, 7) },
      false)))
    assert_allowed(unpack(check({ write(1, 1, 2), open(3, 2), read(1, 4, 5) }, 1)))
  end)

  it('refuses a row that is read after its delete', function()
    assert_refused('stale', unpack(check({ write(1, 1, 2), write(2, 3, 4), read(1, 5, 6) })))
  end)

  it('refuses a row that is not found after its insert', function()
    assert_refused('a row was missed', unpack(check({ write(1, 1, 2), read(false, 3, 4) })))
  end)

  it('refuses a row that is back after it was seen to be gone', function()
    assert_refused('stale', unpack(check({ write(1, 1, 2), open(3, 2), read(false, 4, 5),
      read(1, 6, 7) })))
  end)

  it('refuses an end that no write made', function()
    assert_refused('row 1 ends with false', unpack(check({ write(1, 1, 2) }, false)))
    assert_refused('row 1 ends with 1', unpack(check({ write(1, 1, 2), write(2, 3, 4) }, 1)))
  end)
end)

describe('Of rows that a run before has written the checker', function()
  local base = { [1] = { version = 3, by = { 3 } } }

  it('allows what follows from there', function()
    assert_allowed({ read(3, 1, 2), write(4, 3, 4), open(5), read(5, 6, 7) },
      { base = base, final = final(5, { 5 }) })
  end)

  it('refuses what was there before', function()
    assert_refused('stale.*after what was there before', { read(2, 1, 2) }, { base = base })
    assert_refused('an update was lost', { write(3, 1, 2) }, { base = base })
  end)

  it('refuses what nobody has written yet', function()
    assert_refused('from nowhere', { write(4, 1, 2), read(5, 3, 4) }, { base = base })
  end)

  it('refuses an end that has lost what was there before, or done it again', function()
    assert_refused('lost: row 1', { write(4, 1, 2) }, { base = base, final = final(3, { 3 }) })
    assert_refused('row 1 has 2 writes', { write(4, 1, 2) },
      { base = base, final = final(5, { 5 }) })
    assert_refused('lost: row 1', { write(4, 1, 2, 2) },
      { base = base, final = final(3, { [1] = 2, [2] = 1 }) })
  end)

  local lives = { true }

  it('knows whether one that comes and goes was there', function()
    assert_allowed({ read(3, 1, 2), write(4, 3, 4), read(false, 5, 6) },
      { base = base, lives = lives, final = final(false, {}) })
    assert_refused('a row was missed', { read(false, 1, 2) }, { base = base, lives = lives })
    local gone = { [1] = { version = 4, by = {} } }
    assert_allowed({ read(false, 1, 2), write(5, 3, 4) },
      { base = gone, lives = lives, final = final(5, { 5 }) })
    assert_refused('stale', { read(3, 1, 2) }, { base = gone, lives = lives })
    assert_refused('ends with 3', { read(false, 1, 2) },
      { base = gone, lives = lives, final = final(3, { 3 }) })
  end)

  it('gives the version of one that is gone to the run after it', function()
    local function after(calls, version)
      return checker.base(calls, lives, final(version, {}), base)[1].version
    end
    assert.equal(4, after({ write(4, 1, 2) }, false))
    assert.equal(4, after({ open(1, 4) }, false))
    assert.equal(3, after({ open(1, 4) }, 3))
    assert.equal(4, after({ write(4, 1, 2), open(3, 5) }, false))
    assert.equal(5, after({ write(4, 1, 2), open(3, 5) }, 5))
  end)
end)
