--- A copy from 3 to 4 shards that is killed at random moments, again and again, and goes on each
--- time where it was, while readers read and writers try: nothing is lost, nothing is there twice,
--- and no write that was taken is missing.
-- Plain pass alone: what is killed is a process of its own.

local command = require('spec.support.command')
local process = require('spec.support.process')
local shell = require('spec.support.shell')
local sides = require('spec.support.sides')
local stores = require('stores')
local support = require('spec.support')
local uv = require('luv')

-- 1,000,000 of them: STORES_COPY_ROWS=1000000
local ROWS = tonumber(os.getenv('STORES_COPY_ROWS') or '') or 20000
local SEED = tonumber(os.getenv('STORES_COPY_SEED') or '') or os.time() % 100000
local KILLS, MIDWAY = 6, 3 -- and so many of them in the middle of the rows
local SQL = 'CREATE TABLE things (id bigint PRIMARY KEY, value jsonb NOT NULL)'
local FILL = [[INSERT INTO things SELECT i, jsonb_build_object('id', i::text, 'n', i,
  'name', 'user ' || i, 'email', 'user' || i || '@example.com', 'tags', '["a", "b\\n"]'::jsonb)
  FROM generate_series(%d, %d, 3) AS i]]
local HASH = "SELECT count(*), sum(hashtextextended(id::text || ' ' || value::text, 7)) FROM %s"

local COPIED = 'SELECT coalesce(sum(rows), 0)::float8 AS rows FROM stores_copy'

local folder, old, new

setup(function()
  folder = os.tmpname()
  os.remove(folder)
  assert(os.execute('mkdir ' .. folder) == 0)
  old, new = sides.open(3, SQL), sides.open(4, SQL)
  for at, db in ipairs(old.databases) do support.psql(db, FILL:format(at - 1, ROWS - 1)) end
  shell.write(folder .. '/old.lua', 'return ' .. command.source(old.place.shards))
  shell.write(folder .. '/new.lua', 'return ' .. command.source(new.place.shards))
end)
teardown(function()
  old:close()
  new:close()
  sides.drop()
  os.execute('rm -rf ' .. folder)
end)

-- How many rows there are, and the sum of their hashes, over all databases of a side.
local function sums(side, name)
  local count, parts = 0, {}
  for _, line in ipairs(side:psql(HASH:format(name))) do
    local rows, hash = line:match('^(%d+)|(%-?%d+)')
    count, parts[#parts + 1] = count + tonumber(rows), hash
  end
  local total = support.psql(side.databases[1], ('SELECT %s'):format(table.concat(parts, ' + ')))
  return count, total
end

-- A process that reads rows of the old side, and tries to write, until it is told that they moved;
-- it prints each write that was taken.
local CLIENT = [[
  math.randomseed(%d)
  local shards = require('stores').Shards.new(dofile(%q))
  local reads = 0
  while true do
    local id = tostring(math.random(0, %d))
    local ok, doc = shards.try:find('things', id, { cache = math.random() < 0.5 })
    if not ok and doc.code == 'moved' then break end
    if not ok then print('wrong ' .. tostring(doc)) os.exit(1) end
    if not doc or doc.n ~= tonumber(id) then print('wrong ' .. id) os.exit(1) end
    reads = reads + 1
    ok, doc = shards.try:patch('things', id, { set = { by = %d, at = reads } })
    if ok then print('took ' .. id .. ' ' .. reads)
    elseif doc.code == 'moved' then break
    elseif doc.code ~= 'read_only' then print('wrong ' .. tostring(doc)) os.exit(1) end
  end
  print('moved ' .. reads)]]

-- Looks of this process, which no psql is started for.
local function any_stores()
  local list = {}
  for at, db in ipairs(new.databases) do
    list[at] = stores.Store.new(db, nil, { any_shard = true })
  end
  return list
end

local function start_copy()
  return command.start({ 'copy', '--from', folder .. '/old.lua', '--to', folder .. '/new.lua',
    '--batch', tostring(math.max(100, math.floor(ROWS / 100))), '--json' }, nil,
    folder .. '/errors')
end

-- How many rows the new side has at the moment; none where no copy has marked it yet.
local function copied(list)
  local sum = 0
  for _, store in ipairs(list) do
    local ok, rows = pcall(store.query, store, COPIED, {}, { readonly = true })
    sum = sum + (ok and rows[1].rows or 0)
  end
  return sum
end

-- Waits for a moment of a copy: at first behind so many rows, a part of all of them each time;
-- later on while it begins, or when it has said that it compares, or switches. It may be over
-- before that.
local function wait_for_moment(list, copying, killed)
  local word = killed == MIDWAY and 'compares' or ({ 'marks', 'compares', 'switches' })[
    math.random(3)]
  if killed < MIDWAY then
    local rows = ROWS * (killed + math.random()) / MIDWAY
    support.eventually(function() return copied(list) >= rows or copying:is_over() end, 300)
    return
  end
  local _, told = shell.read(folder .. '/errors'):gsub(word, '')
  support.eventually(function()
    local _, now = shell.read(folder .. '/errors'):gsub(word, '')
    return now > told or copying:is_over()
  end, 300)
  stores.sleep(math.random() * 0.2)
end

describe('a copy from 3 to 4 shards', function()
  it('loses nothing and doubles nothing, whenever it is killed', function()
    math.randomseed(SEED)
    print(('rows %d, STORES_COPY_SEED=%d'):format(ROWS, SEED))
    local clients, began = {}, os.time()
    for number = 1, 2 do
      clients[number] = process.lua(CLIENT:format(SEED + number, folder .. '/old.lua', ROWS - 1,
        number), folder .. '/errors')
    end
    for _, client in ipairs(clients) do assert.matches('^took', client:line()) end
    local list = any_stores()
    local killed, midway, said = 0, 0, nil
    while not said do
      local copying = start_copy()
      if killed < KILLS then
        wait_for_moment(list, copying, killed)
        copying:signal('KILL')
      end
      said = copying:wait():find('"finished":true', 1, true)
      if not said then
        assert.is_true(killed < KILLS, shell.read(folder .. '/errors'))
        killed = killed + 1
        local count = copied(list)
        if count > 0 and count < ROWS then midway = midway + 1 end
      end
    end
    for _, store in ipairs(list) do store:close() end
    local wrote = {}
    for number, client in ipairs(clients) do
      for line in client:wait():gmatch('[^\n]+') do
        local id, at = line:match('^took (%d+) (%d+)')
        assert.is_truthy(id or line:find('^moved'), line)
        if id then wrote[id] = { by = number, at = tonumber(at) } end
      end
    end
    local count, hash = sums(old, 'stores_moved_public.things')
    assert.equal(ROWS, count)
    local now, other = sums(new, 'things')
    assert.same({ count, hash }, { now, other })
    for id, write in pairs(wrote) do
      local document = new.target:find('things', id)
      assert.is_truthy(document.by == write.by and document.at >= write.at
        or document.by ~= write.by, id)
    end
    assert.equal(ROWS, new.target:count('things'))
    print(('killed %d times, in the middle of the rows %d times, %d s'):format(killed, midway,
      os.time() - began))
  end)
end)

-- The command of a shell that is psql at a database.
local function psql_at(db)
  return ("LD_PRELOAD= psql -Xq 'host=%s port=%s dbname=%s user=%s'"):format(db.host, db.port,
    db.database, db.user)
end

-- Each database into one of the other side, by psql alone, whichever the ids belong to.
local function seconds_of_psql(from, to)
  local pipes = {}
  for at, db in ipairs(from.databases) do
    pipes[at] = ([[%s -c '\copy things to stdout' | %s -c '\copy things from stdin' &]]):format(
      psql_at(db), psql_at(to.databases[at]))
  end
  local began = uv.hrtime()
  os.execute(table.concat(pipes, '\n') .. '\nwait')
  return (uv.hrtime() - began) / 1e9
end

describe('a copy that nobody disturbs', function()
  if not os.getenv('STORES_COPY_ROWS') then return end

  it('is told of beside psql', function()
    local here, there, plain = sides.open(3, SQL), sides.open(4, SQL), sides.open(3, SQL)
    for at, db in ipairs(here.databases) do support.psql(db, FILL:format(at - 1, ROWS - 1)) end
    here:psql('VACUUM ANALYZE things')
    local psql = seconds_of_psql(here, plain)
    local steps, began, last = {}, uv.hrtime(), nil
    local function step(text)
      local now = uv.hrtime()
      if last then steps[#steps + 1] = ('%s %.1f s'):format(last, (now - began) / 1e9) end
      began, last = now, text
    end
    stores.copy(here.place, there.place, { say = step })
    step()
    print(('%d rows, 3 to 4: %s; psql, side by side: %.1f s'):format(ROWS,
      table.concat(steps, ', '), psql))
    assert.equal(ROWS, there.target:count('things'))
    for _, side in ipairs({ here, there, plain }) do side:close() end
  end)
end)
