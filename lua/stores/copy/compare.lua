--- Whether both sides have the same rows: their number, and a hash of them that does not depend on
--- their order, which the servers count side by side.

local errors = require('stores.errors')
local tables = require('stores.copy.tables')
local tasks = require('stores.tasks')

local compare = {}

---@class stores.copy.Sum of the rows of a table on one side
---@field count number
---@field hash string 16 hexadecimal digits

-- The sum of the hashes of all rows, modulo 2^64; and how many rows are not where they belong.
local SUM = [[
SELECT count(*)::float8 AS count, count(*) FILTER (WHERE %s)::float8 AS strays,
  mod(mod(coalesce(sum(pg_catalog.hashtextextended(%s, 0)::numeric), 0), 18446744073709551616)
    + 18446744073709551616, 18446744073709551616)::text AS hash
FROM %s]]
local READ = { transaction = false, readonly = true }
local IDS = 10000 -- that are read at a time

local function number_of(digits)
  local value = 0ULL
  for digit in digits:gmatch('%d') do value = value * 10ULL + tonumber(digit) end
  return value
end

local function stray(side, at)
  if side.is_alone or side.strategy.owner then return 'false' end
  return ('((id %% %d) + %d) %% %d <> %d'):format(side.size, side.size, side.size, at - 1)
end

local function refuse_strays(side, at, one, count)
  errors.raise('conflict', ('%d rows of %s are in %s and belong to another shard'):format(count,
    one.name, side:called(at)), { table = one.name, shard = at - 1 })
end

-- By the modulo, which the server counts.
local function count_strays(side, at, one)
  return side.stores[at]:query(('SELECT count(*)::float8 AS count FROM %s WHERE %s'):format(
    one.rows, stray(side, at)), {}, READ)[1].count
end

-- By a function of the program's own, which is asked here about each id.
local function count_strays_by(side, at, one)
  local strategy, count, last = side.strategy, 0, nil
  repeat
    local found = side.stores[at]:query(('SELECT id::text AS id FROM %s %s ORDER BY id LIMIT %d')
      :format(one.rows, last and 'WHERE id > ' .. last or '', IDS), {}, READ)
    for _, row in ipairs(found) do
      if strategy.owner(row.id, side.size) ~= at - 1 then count = count + 1 end
      last = row.id
    end
  until #found < IDS
  return count
end

--- Refuses an old side with rows that nobody finds where they are, before anything is begun.
---@param side stores.copy.Side
---@param chosen stores.copy.Table[]
---Raises conflict.
function compare.no_strays(side, chosen)
  if side.is_alone then return end
  local count_in = side.strategy.owner and count_strays_by or count_strays
  side:each(function(_, at)
    for _, one in ipairs(chosen) do
      local count = count_in(side, at, one)
      if count > 0 then refuse_strays(side, at, one, count) end
    end
  end)
end

local function sum_of(side, at, one)
  local row = side.stores[at]:query(SUM:format(stray(side, at), tables.line(one), one.rows), {},
    READ)[1]
  if row.strays > 0 then refuse_strays(side, at, one, row.strays) end
  return row
end

local function total(rows)
  local count, hash = 0, 0ULL
  for _, row in ipairs(rows) do
    count, hash = count + row.count, hash + number_of(row.hash)
  end
  return { count = count, hash = require('bit').tohex(hash, 16) }
end

--- Compares a table of both sides.
---@param work stores.copy.Work
---@param one stores.copy.Table
---@return stores.copy.Sum
---Raises conflict.
function compare.table(work, one)
  local places = {}
  for _, side in ipairs({ work.from, work.to }) do
    for at = 1, side.size do places[#places + 1] = { side = side, at = at } end
  end
  local sums = tasks.map(places, function(place) return sum_of(place.side, place.at, one) end, {})
  local before, after = {}, {}
  for i, place in ipairs(places) do
    local into = place.side == work.from and before or after
    into[#into + 1] = sums[i]
  end
  local old, new = total(before), total(after)
  if old.count ~= new.count or old.hash ~= new.hash then
    errors.raise('conflict', ('%s is not the same on both sides: %d rows (%s) on the old one, %d '
      .. '(%s) on the new one'):format(one.name, old.count, old.hash, new.count, new.hash),
      { table = one.name, hint = 'nothing was switched; --abort gives this copy up' })
  end
  return new
end

return compare
