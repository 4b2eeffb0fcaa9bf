--- The benchmarks run: every workload is printed with its ceiling and a ratio. How fast either is
--- is no matter of a test.
-- Plain pass alone: programs of their own, which no pass reaches.

describe('bench/run.sh #slow', function()
  local text, status

  setup(function()
    local root = os.getenv('STORES_ROOT') or '.'
    local pipe = assert(io.popen(("STORES_BUILD=${STORES_BUILD:-'%s/build'} sh '%s/bench/run.sh' "
      .. '--quick --seconds 0.05 --rows 200 2>&1; echo status $?'):format(root, root)))
    text = pipe:read('*a')
    pipe:close()
    status = text:match('status (%d+)\n$')
  end)

  --- The figures of each line of the table that begins with the name.
  local function rows(name)
    local found = {}
    for line in text:gmatch('[^\n]+') do
      if line:sub(1, #name) == name then
        local ours, theirs, ratio = line:match('%s(%d+) /s%s+(%d+) /s%s+([%d.]+) x')
        if ours then
          found[#found + 1] = { tonumber(ours), tonumber(theirs), tonumber(ratio) }
        end
      end
    end
    return found
  end

  it('ends well', function()
    assert.equal('0', status, text)
  end)

  for name, count in pairs({
    ['find, cached '] = 2,
    ['find, cache = false '] = 2,
    ['findAllByIds of 100, cached '] = 1,
    ['insert, cache = false '] = 1,
    ['find, cached, by TLS '] = 2,
    ['update, cache = false '] = 1,
    ['update, cached '] = 1,
    ['updateObject, cached '] = 1,
    ['find, held '] = 1,
    ['find, held, shared '] = 1,
    ['update, held by 1 '] = 1,
  }) do
    it('shows ' .. name .. 'beside its ceiling', function()
      local list = rows(name)
      assert.equal(count, #list, text)
      for _, figures in ipairs(list) do
        assert.is_true(figures[1] > 0 and figures[2] > 0, text)
        assert.is_true(figures[3] >= 0 and figures[3] < math.huge, text)
      end
    end)
  end

  it('says what was run, and where', function()
    for _, word in ipairs({ 'pgbench %-n', 'redis%-benchmark %-s', 'hiredis_loop', 'libpq_loop',
                            'bench/workload.lua', 'machine +%d+ cores', 'PostgreSQL %d', 'Redis %d',
                            'fsync = on', 'synchronous_commit = on' }) do
      assert.truthy(text:find(word), 'it does not say ' .. word .. ':\n' .. text)
    end
  end)

  it('leaves no folder of its servers', function()
    local room = os.getenv('STORES_TEST_ROOM') or (os.getenv('STORES_ROOT') or '.')
      .. '/build/bench'
    local pipe = assert(io.popen("ls -d '" .. room .. "'/data-* 2>/dev/null"))
    local left = pipe:read('*a')
    pipe:close()
    -- a run by hand at the same moment has one of its own, and lives
    for pid in left:gmatch('data%-(%d+)') do
      assert.truthy(io.open('/proc/' .. pid), 'nobody uses ' .. left)
    end
  end)

  it('refuses what it does not know', function()
    local root = os.getenv('STORES_ROOT') or '.'
    local pipe = assert(io.popen(
      ("sh '%s/bench/run.sh' --nonsense 2>&1; echo status $?"):format(root)))
    local said = pipe:read('*a')
    pipe:close()
    assert.truthy(said:find('usage: sh bench/run.sh', 1, true), said)
    assert.truthy(said:find('status 2\n', 1, true), said)
  end)
end)

describe('bench/run.sh --lists --http #slow', function()
  local text

  setup(function()
    local root = os.getenv('STORES_ROOT') or '.'
    local pipe = assert(io.popen(("STORES_BUILD=${STORES_BUILD:-'%s/build'} sh '%s/bench/run.sh' "
      .. '--lists --http --quick --rows 4000 --only page 2>&1; echo status $?'):format(root, root)))
    text = pipe:read('*a')
    pipe:close()
  end)

  it('ends well', function()
    assert.equal('0', text:match('status (%d+)\n$'), text)
  end)

  it('shows lists beside the same statement of pgbench', function()
    assert.truthy(text:find('\npage +%d+/s +%d+/s +%d+/s +[%d.]+\n'), text)
  end)

  it('shows the API of the examples beside lua-nginx-redis and a constant', function()
    for _, name in ipairs({ 'Stores', 'Stores, decoded', 'lua-nginx-redis', 'static' }) do
      local rate, ratio, time = text:match('\n' .. name:gsub('%-', '%%-')
        .. ' +(%d+) +([%d.]+) x +([%d.]+)')
      assert.is_truthy(rate, 'there is no line ' .. name .. ':\n' .. text)
      assert.is_true(tonumber(rate) > 0 and tonumber(ratio) > 0 and tonumber(time) > 0, text)
    end
  end)
end)

describe('bench/run.sh --peers #slow', function()
  it('shows Stores beside the same call written by hand', function()
    local root = os.getenv('STORES_ROOT') or '.'
    local pipe = assert(io.popen(("STORES_BUILD=${STORES_BUILD:-'%s/build'} sh '%s/bench/run.sh' "
      .. "--peers --quick --seconds 0.05 --rows 200 --only 'find, cached' 2>&1; echo status $?")
      :format(root, root)))
    local text = pipe:read('*a')
    pipe:close()
    assert.equal('0', text:match('status (%d+)\n$'), text)
    local figures = text:match('\nfind, cached +1024([^\n]*)')
    assert.truthy(figures, text)
    local count = 0
    for rate in figures:gmatch('(%d+)/s') do
      count = count + 1
      assert.is_true(tonumber(rate) > 0, text)
    end
    assert.equal(5, count, text)
    local rate, stale = text:match('\nStores, find +(%d+)/s +([%d.]+) %%')
    assert.is_true(tonumber(rate) > 0, text)
    assert.equal(0, tonumber(stale), text)
    assert.truthy(text:find('lrucache, which polls each second +%d+/s +[%d.]+ %%'), text)
  end)
end)

describe('bench/run.sh --write #slow', function()
  it('puts what was measured into the page', function()
    local root = os.getenv('STORES_ROOT') or '.'
    local page = os.tmpname()
    local file = assert(io.open(page, 'w'))
    file:write('before\n<!-- codec: written by bench/run.sh -->\nold\n<!-- end -->\nbehind\n')
    file:close()
    local pipe = assert(io.popen(("STORES_BENCH_PAGE='%s' STORES_BUILD=${STORES_BUILD:-'%s/build'} "
      .. "sh '%s/bench/run.sh' --codec --quick --seconds 0.01 --write 2>&1; echo status $?")
      :format(page, root, root)))
    local said = pipe:read('*a')
    pipe:close()
    file = assert(io.open(page))
    local text = file:read('*a')
    file:close()
    os.remove(page)
    assert.truthy(said:find('status 0\n$'), said)
    assert.falsy(text:find('old', 1, true))
    assert.truthy(text:find('^before\n<!%-%- codec: written by bench/run.sh %-%->\n%d+%-%d+%-%d+, '
      .. 'commit %x+.-\n| 100 KB escapes | [%d.]+ | [%d.]+ |\n<!%-%- end %-%->\nbehind\n$'), text)
  end)
end)
