--- Progress of long work: a bar on a terminal, plain lines elsewhere.

local progress = require('stores.progress')

describe('progress', function()
  local time, written

  before_each(function() time, written = 100, {} end)

  local function new(total, terminal)
    return progress.new('inserted', total, {
      terminal = terminal,
      now = function() return time end,
      write = function(text) written[#written + 1] = text end,
    })
  end

  -- What a terminal shows in its last line, once all of it was written.
  local function shown()
    return (table.concat(written):match('[^\r\n]*$'):gsub('\27%[K.*$', ''))
  end

  it('draws a bar on a terminal, in place', function()
    local bar = new(2000, true)
    bar:step(500)
    assert.equal('inserted [' .. ('#'):rep(7) .. ('.'):rep(23) .. '] 500 of 2,000', shown())
    time = time + 1
    bar:step(1500)
    assert.equal('inserted [' .. ('#'):rep(30) .. '] 2,000 of 2,000', shown())
    assert.is_nil(table.concat(written):find('\n'))
  end)

  it('leaves nothing of the bar behind, and gives the seconds', function()
    local bar = new(10, true)
    bar:step(10)
    time = time + 2.5
    assert.equal(2.5, bar:finish())
    assert.equal('', shown())
  end)

  it('does not draw more often than can be seen', function()
    local bar = new(1000, true)
    for _ = 1, 1000 do
      bar:step()
      time = time + 0.001
    end
    assert.is_true(#written >= 9 and #written <= 11, #written)
  end)

  it('writes plain lines elsewhere, and none for short work', function()
    local bar = new(1000, false)
    for _ = 1, 400 do
      bar:step()
      time = time + 0.01
    end
    assert.same({}, written)
    time = time + 2
    bar:step()
    assert.same({ 'inserted: 401 of 1,000 (40 %)\n' }, written)
    bar:finish()
    assert.equal(1, #written)
  end)

  it('counts where nobody knows how much there is', function()
    local bar = new(nil, true)
    bar:step(1234567)
    assert.equal('inserted: 1,234,567', shown())
  end)

  it('tells how fast it is, and how long the rest will take, where that is asked for', function()
    local bar = progress.new('loaded', 100000, { terminal = true, rate = true, after = 2,
      now = function() return time end, write = function(text) written[#written + 1] = text end })
    time = time + 1
    bar:at(10000)
    assert.same({}, written) -- who is done by then saw nothing
    time = time + 3
    bar:at(20000)
    assert.truthy(shown():find('20,000 of 100,000, 5,000/s, 0:16 left', 1, true), shown())
    time = time + 16000
    bar:at(30000)
    assert.truthy(shown():find(', 1.9/s, 10:22:', 1, true), shown())
    bar:done()
    assert.equal('', shown())
  end)

  it('leaves a terminal alone on which it drew nothing', function()
    local bar = progress.new('loaded', nil, { terminal = true, after = 2,
      now = function() return time end, write = function(text) written[#written + 1] = text end })
    bar:at(10)
    bar:done()
    assert.same({}, written)
  end)

  it('takes work of no steps for done', function()
    local bar = new(0, true)
    bar:step(0)
    assert.equal('inserted [' .. ('#'):rep(30) .. '] 0 of 0', shown())
  end)

  it('groups digits by three', function()
    assert.equal('0', progress.thousands(0))
    assert.equal('999', progress.thousands(999))
    assert.equal('123,456', progress.thousands(123456))
    assert.equal('-1,000', progress.thousands(-1000))
    assert.equal('-100', progress.thousands(-100))
  end)
end)
