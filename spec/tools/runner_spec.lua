--- What runs the specs (tools/specs.lua): how it judges, and that it leaves nobody behind.
-- Plain pass alone: the runner is a program of its own.

local process = require('spec.support.process')
local system = require('stores.local.system')

local function shell(command)
  local pipe = assert(io.popen(command .. ' 2>&1'))
  local text = pipe:read('*a')
  pipe:close()
  return text
end

local function read(path)
  local file = io.open(path)
  local text = file and file:read('*a')
  if file then file:close() end
  return text
end

local write = require('spec.support.shell').write

local function within(seconds, condition)
  for _ = 1, seconds * 50 do
    if condition() then return true end
    system.sleep(0.02)
  end
  return condition()
end

describe('tools/specs.lua #slow', function()
  local folder, runner

  before_each(function()
    folder = shell('mktemp -d'):match('[^\n]+')
    shell(('mkdir %s/logs %s/data'):format(folder, folder))
  end)

  after_each(function()
    if runner then runner:kill() end
    runner = nil
    shell('rm -rf ' .. folder)
  end)

  -- Runs these files, by name their text.
  local function start(files, ...)
    local words = { 'luajit', 'tools/specs.lua', '--jobs=1', '--logs=' .. folder .. '/logs',
      '--data=' .. folder .. '/data', ... }
    for name, text in pairs(files) do
      write(folder .. '/' .. name, text)
      words[#words + 1] = folder .. '/' .. name
    end
    runner = process.start(words)
  end

  local function said(files, ...)
    start(files, ...)
    return runner:wait()
  end

  -- each run has servers: these files, which do not know of one another, share one
  it('counts what passed, failed and is pending, and takes no early end for a pass', function()
    local text = said({ ['a_spec.lua'] = [[
      it('passes', function() end)
      it('waits', function() pending('for something') end)
      it('fails', function() error('a reason that is told', 0) end)]],
      ['b_spec.lua'] = "it('passes', function() end) os.exit(0)",
      ['c_spec.lua'] = [[
        require('ffi').cdef('void abort(void);')
        it('passes', function() require('ffi').C.abort() end)]],
      ['d_spec.lua'] = [[
        io.stdout:setvbuf('no')
        local ffi = require('ffi')
        ffi.cdef('void abort(void); int on_exit(void (*)(int, void *), void *);')
        it('passes', function()
          ffi.C.on_exit(ffi.cast('void (*)(int, void *)', ffi.C.abort), nil)
        end)]],
      -- about memory, and run here all the same, for there is no asan pass; nobody has built it
      ['test_none.c'] = '/* Units.\n * Asan pass alone: it says so.\n */\n',
    }, '--pass=plain')
    assert.matches('a reason that is told', text, 1, true)
    assert.matches('FAILED[^\n]* 1 passed, 1 failed  plain a_spec', text)
    for _, name in ipairs({ 'b_spec', 'c_spec', 'd_spec', 'test_none' }) do
      assert.matches('FAILED[^\n]* 1 failed  plain ' .. name, text)
    end
    assert.matches('\nspecs: 2 passed, 5 failed, 1 pending\n$', text)
    assert.equal(text, read(folder .. '/logs/specs.log'))
  end)

  it('leaves out of a pass what has nothing to find there', function()
    local text = said({ ['a_spec.lua'] = "it('passes', function() end)",
      ['b_spec.lua'] = "-- Plain pass alone: it says so.\nit('passes', function() end)",
      ['c_spec.lua'] = "it('passes, but #slow', function() end)",
      ['d_spec.lua'] = "-- Not in the gc pass: it says so.\nit('passes', function() end)",
    }, '--pass=plain', '--pass=gc')
    assert.matches('\nspecs: 5 passed, 0 failed, 0 pending\n$', text)
    assert.matches('gc a_spec', text, 1, true)
    assert.is_nil(text:find('gc d_spec', 1, true))
  end)

  it('runs a file of both, asan and gc, once and under both', function()
    local says = "it('says so', function() assert.equal(%s, os.getenv('STORES_TEST_COLLECTS')) end)"
    local files = { ['a_spec.lua'] = says:format("'yes'"),
      ['b_spec.lua'] = '-- Not in the gc pass: it says so.\n' .. says:format('nil') }
    local text = said(files, '--pass=asan', '--pass=gc')
    assert.matches('\nspecs: 2 passed, 0 failed, 0 pending\n$', text)
    assert.matches('asan a_spec', text, 1, true)
    files['a_spec.lua'] = says:format('nil')
    assert.matches('\nspecs: 2 passed, 0 failed, 0 pending\n$', said(files, '--pass=asan'))
  end)

  it('leaves a unit about memory to the asan pass, where that is run', function()
    -- nobody has built these units, so that each fails where it is run
    local files = { ['test_none.c'] = '/* Units.\n * Asan pass alone: it says so.\n */\n',
      ['test_other.c'] = '/* Asan pass alone is not the whole of its line. */\n' }
    local text = said(files, '--pass=plain', '--pass=asan')
    assert.is_nil(text:find('plain test_none', 1, true))
    assert.matches('asan test_none', text, 1, true)
    assert.matches('plain test_other', text, 1, true)
    assert.matches('\nspecs: 0 passed, 3 failed, 0 pending\n$', text)
  end)

  it('tells where the processor went: to a file, its programs, and servers', function()
    local text = said({ ['a_spec.lua'] = ([[
      it('is busy', function()
        while os.clock() < 0.3 do end
        local busy = "luajit -e 'while os.clock() < 0.3 do end'"
        os.execute(busy)
        os.execute("setsid sh -c \"" .. busy .. "; touch %s/done\" &")
        while not io.open('%s/done') do os.execute('sleep 0.05') end
      end)]]):format(folder, folder), ['b_spec.lua'] = "it('passes', function() end)" },
      '--pass=plain')
    assert.matches('\ndearest: plain a_spec %d+ s of a core, plain b_spec', text)
    local costs = {}
    for number in read(folder .. '/logs/processor'):match('([^\n]*)plain a_spec'):gmatch('%S+') do
      costs[#costs + 1] = tonumber(number)
    end
    for i, least in ipairs({ 0.9, 0.3, 0.3, 0.3, 0.9 }) do assert.is_true(costs[i] >= least, i) end
    assert.is_true(costs[3] < costs[1] - 0.5)
  end)

  -- The processes below one, each with the moment of its start, for numbers come again.
  local function family(pid)
    local parents, began = {}, {}
    for _, name in ipairs(system.list('/proc')) do
      local stat = name:find('^%d+$') and read('/proc/' .. name .. '/stat')
      local state, parent, rest = (stat or ''):match('^%d+ %(.*%) (%a) (%d+) (.*)$')
      if state and state ~= 'Z' then
        parents[name] = parent
        began[name] = rest:match('^' .. ('%S+ '):rep(17) .. '(%d+)')
      end
    end
    local found = {}
    for one in pairs(parents) do
      local ancestor = one
      while ancestor and ancestor ~= tostring(pid) do ancestor = parents[ancestor] end
      if ancestor then found[one] = began[one] end
    end
    return found
  end

  local function lives(name, began)
    local stat = read('/proc/' .. name .. '/stat') or ''
    local state, rest = stat:match('^%d+ %(.*%) (%a) %d+ (.*)$')
    return state and state ~= 'Z' and rest:match('^' .. ('%S+ '):rep(17) .. '(%d+)') == began
  end

  for _, signal in ipairs({ 'INT', 'TERM' }) do
    it('ends all that was started where it is interrupted, daemons too, by ' .. signal, function()
      start({ ['a_spec.lua'] = ([[
        it('starts servers, and what makes a daemon of itself', function()
          local handle = require('spec.support.servers').up('%s/own')
          os.execute('setsid sleep 1234 </dev/null >/dev/null 2>&1 &')
          os.execute("setsid sh -c 'trap : TERM INT HUP; sleep 1234; sleep 1234' &")
          io.open('%s/ready', 'w'):close()
          os.execute('sleep 1234')
          handle.close()
        end)]]):format(folder, folder) }, '--pass=plain')
      assert.is_true(within(60, function() return read(folder .. '/ready') end))
      local all, names
      assert.is_true(within(60, function()
        all, names = family(runner.pid), { sleep = 0, postgres = 0 }
        for name in pairs(all) do
          local comm = (read('/proc/' .. name .. '/comm') or ''):match('[^\n]*')
          names[comm] = (names[comm] or 0) + 1
        end
        return names.sleep >= 3 and names.postgres > 10 and names['redis-server'] == 2
      end))
      local began = os.time()
      runner:signal(signal)
      assert.matches('specs: interrupted\n$', runner:wait())
      -- one that was killed takes its time to go on a busy machine
      for name, when in pairs(all) do
        local gone = within(30, function() return not lives(name, when) end)
        assert.is_true(gone, name .. ' ' .. (read('/proc/' .. name .. '/cmdline') or ''))
      end
      assert.is_true(os.time() - began < 60) -- it waited for none of them
      runner = nil
    end)
  end
end)
