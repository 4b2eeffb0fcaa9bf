--- Pages through rows with many equals, while rows are inserted and deleted before and behind the
--- page: each row that is there when its place is reached is given once, and no other one. So many
--- rows: STORES_TEST_ROWS=100000.

local support = require('spec.support')

local ROWS = tonumber(os.getenv('STORES_TEST_ROWS')) or 30000
local SIZE, BATCH, CHANGES = ROWS / 25, ROWS / 5, 20

-- Whether a row comes behind another one: nulls last, equals by id.
local ORDERS = {
  ['by one key'] = { order = { 'rank' }, keys = { { 'rank', 1 } }, id = 1 },
  ['by one key, down'] = { order = { '-rank' }, keys = { { 'rank', -1 } }, id = -1 },
  ['by two keys'] = { order = { 'rank', '-at' }, keys = { { 'rank', 1 }, { 'at', -1 } }, id = -1 },
  ['by two keys, both down'] = { order = { '-at', '-rank', 'id' },
    keys = { { 'at', -1 }, { 'rank', -1 } }, id = 1 },
  ['by id'] = { order = 'desc', keys = {}, id = -1 },
}

local function is_behind(by, row, other)
  for _, key in ipairs(by.keys) do
    local mine, its = row[key[1]], other[key[1]]
    if mine ~= its then
      if mine == nil or its == nil then return mine == nil end
      return (mine - its) * key[2] > 0
    end
  end
  return (row.id - other.id) * by.id > 0
end

describe('paging through ten thousands of rows #slow', function()
  local store, db
  local rows -- what is in the table, by id

  setup(function()
    store, db = support.store({ 'big' }, { cache = false, no_redis = true })
    local at = "NULLIF(value #> '{at}', 'null')"
    local rank = "NULLIF(value #> '{rank}', 'null')"
    store:query(([[
      INSERT INTO big SELECT n * 10, jsonb_build_object('id', (n * 10)::text, 'at', n * 7919 %% 500,
          'rank', CASE WHEN n %% 50 > 0 THEN n %% 97 END) - CASE WHEN n %% 53 = 0 THEN 'rank'
          ELSE '' END
        FROM generate_series(1, %d) n;
      CREATE INDEX ON big ((%s), id);
      CREATE INDEX ON big ((%s), (%s) DESC NULLS LAST, id DESC);
      CREATE INDEX ON big ((%s) DESC NULLS LAST, (%s) DESC NULLS LAST, id);
    ]]):format(ROWS, rank, rank, at, at, rank))
    store:query('ANALYZE big')
    rows = {}
    for _, row in ipairs(store:query([[SELECT id, (value ->> 'rank')::int AS rank,
        (value ->> 'at')::int AS at FROM big]])) do
      local is_null = type(row.rank) ~= 'number'
      rows[row.id] = { id = row.id, at = row.at, rank = not is_null and row.rank or nil }
    end
  end)
  teardown(function() support.close(store, db) end)

  local next_id = 1
  -- Takes some rows out, and puts others in, anywhere; tells of each of them.
  local function change(deleted, inserted)
    local gone, come = {}, {}
    for _ = 1, CHANGES do
      local id = math.random(ROWS) * 10
      if rows[id] then
        gone[#gone + 1] = ('%d'):format(id)
        rows[id] = nil
        deleted(id)
      end
      repeat next_id = (next_id + 7919) % (ROWS * 10) until next_id % 10 > 0 and not rows[next_id]
      local row = { id = next_id, at = math.random(0, 499), rank = math.random(0, 99) }
      if row.rank > 96 then row.rank = nil end
      rows[next_id] = row
      come[#come + 1] = ('(%d, \'{"at": %d, "rank": %s}\')'):format(next_id, row.at,
        row.rank and ('%d'):format(row.rank) or 'null')
      inserted(row)
    end
    store:query('INSERT INTO big VALUES ' .. table.concat(come, ', '))
    store:deleteWhere('big', nil, { where = { { 'id', 'in', gone } } })
  end

  -- Goes through all pages in one direction and compares what came with what had to come.
  local function walk(by, way)
    local expected, seen, left = {}, {}, 0
    local cursor, place
    local backwards = way == 'before'
    if backwards then -- from a row far behind the others on
      local _, far = store:findAll('big', { order = by.order, limit = ROWS - 50, fields = {} })
      local page, _, back = store:findAll('big', { order = by.order, limit = 1, after = far })
      cursor, place = back, rows[tonumber(page[1].id)]
    end
    for id, row in pairs(rows) do
      expected[id] = not place or is_behind(by, place, row) or nil
    end
    repeat
      local page, next, previous = store:findAll('big', { order = by.order, limit = SIZE,
        [way] = cursor, fields = { 'rank', 'at' } })
      if backwards then next = previous end
      for i = 1, #page do
        local id = tonumber(page[i].id)
        assert(not seen[id], 'given twice: ' .. id)
        seen[id] = true
      end
      for i = 2, #page do
        local one, other = rows[tonumber(page[i - 1].id)], rows[tonumber(page[i].id)]
        assert(is_behind(by, other, one), 'out of order')
      end
      cursor = next
      if cursor then
        place = rows[tonumber(page[backwards and 1 or #page].id)]
        change(function(id) if not seen[id] then expected[id] = nil end end, function(row)
          local is_ahead = is_behind(by, row, place)
          if backwards then is_ahead = is_behind(by, place, row) end
          if is_ahead then expected[row.id] = true end
        end)
      end
    until not cursor
    for id in pairs(expected) do
      if not seen[id] then left = left + 1 end
    end
    assert.equal(0, left)
    for id in pairs(seen) do assert(expected[id], 'should not have come: ' .. id) end
  end

  for name, by in pairs(ORDERS) do
    it('loses and doubles nothing, ' .. name, function() walk(by, 'after') end)
  end

  it('loses and doubles nothing backwards', function()
    walk(ORDERS['by one key, down'], 'before')
    walk(ORDERS['by two keys'], 'before')
  end)

  it('loses and doubles nothing to each', function()
    local by, seen = ORDERS['by two keys'], {}
    local expected, count = {}, 0
    for id in pairs(rows) do expected[id] = true end
    for document in store:each('big', { order = by.order, batch = BATCH, fields = {} }) do
      local id = tonumber(document.id)
      assert(not seen[id])
      seen[id] = true
      count = count + 1
      if count % BATCH == 0 then
        local place = rows[id]
        change(function(gone) if not seen[gone] then expected[gone] = nil end end, function(row)
          if is_behind(by, row, place) then expected[row.id] = true end
        end)
      end
    end
    for id in pairs(expected) do assert(seen[id], 'lost: ' .. id) end
    for id in pairs(seen) do assert(expected[id], 'should not have come: ' .. id) end
  end)
end)
