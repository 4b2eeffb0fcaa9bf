--- The judge of a history. Each write of a row adds one to its version, so what a call may have
--- seen follows from the clock alone: at least the greatest version that was acknowledged or read
--- before it began, at most as many as there are writes that began before it ended.
---
--- A row of `lives` has one writer, that inserts and deletes it in turn: its version counts both,
--- so that it is there where the version is odd, and who misses it has read some even version.

local checker = {}

---@class consistency.Call
---@field row integer
---@field kind 'read'|'write'
---@field outcome 'done'|'open'|'none'|'torn' open: it may have been done, or be done yet
---@field began number
---@field ended number? where it is done
---@field version integer? what it read or wrote; false: there was no such row
---@field writer integer
---@field verb string?

---@class consistency.Final what the database holds when all is over
---@field version integer|false
---@field by table<integer, integer> how often each writer wrote it, as the document says
---@field id string? the row of the table that it is in

local function show(call)
  local version = call.version == false and 'no row' or 'version ' .. tostring(call.version)
  return ('%s of writer %d: %s of row %d (%.6f to %s)'):format(call.verb or call.kind, call.writer,
    version, call.row, call.began, call.ended and ('%.6f'):format(call.ended) or 'open')
end

local function shown(because) return because and show(because) or 'what was there before' end

local function sorted(calls, field)
  local list = {}
  for i, call in ipairs(calls) do list[i] = call end
  table.sort(list, function(a, b) return a[field] < b[field] end)
  return list
end

local function filter(calls, wanted)
  local list = {}
  for _, call in ipairs(calls) do
    if wanted(call) then list[#list + 1] = call end
  end
  return list
end

local function is_done(call) return call.outcome == 'done' end
local function may_have_written(call) return call.kind == 'write' and call.outcome ~= 'none' end

-- The greatest version at most `most` where the row is absent, at least `least`; nil: none.
local function absent_version(least, most)
  local version = least + least % 2
  return version <= most and version or nil
end

local NOTHING = { version = 0, by = {} }

local function check_row(calls, lives, base, window, report)
  local done = filter(calls, is_done)
  local by_end = sorted(done, 'ended')
  local writes = sorted(filter(calls, may_have_written), 'began')
  local born = {} -- version -> the write that made it
  for _, call in ipairs(done) do
    if call.kind == 'write' then
      if born[call.version] then
        report('two writes made one version: %s; %s', show(born[call.version]), show(call))
      end
      born[call.version] = call
    end
  end
  -- what each may have seen at most: how many writes began before it ended
  local most, count, greatest = {}, 0, base.version
  for _, call in ipairs(by_end) do
    while writes[count + 1] and writes[count + 1].began <= call.ended do
      count = count + 1
      if lives then greatest = math.max(greatest, writes[count].version) end
    end
    most[call] = lives and greatest or base.version + count
  end
  -- what each must have seen at least
  local floor, because, at = base.version, nil, 0
  for _, call in ipairs(sorted(done, 'began')) do
    while by_end[at + 1] and by_end[at + 1].ended < call.began do
      at = at + 1
      local before = by_end[at]
      local version = before.version
      if version == false then version = before.at_least end
      if version and version > floor then floor, because = version, before end
    end
    local version = call.version
    local excused = window and call.kind == 'read' and call.began >= window[1]
      and call.began <= window[2]
    if version == false then
      version = lives and absent_version(floor, most[call])
      call.at_least = version
      if not version and not excused then
        report('a row was missed: %s, after %s', show(call), shown(because))
      end
    elseif lives and call.kind == 'read' and version % 2 == 0 then
      report('a deleted row was read: %s', show(call))
    elseif call.kind == 'read' and version < floor and not excused then
      report('stale: %s, after %s', show(call), shown(because))
    elseif call.kind == 'write' and version <= floor then
      report('an update was lost: %s, after %s', show(call), shown(because))
    end
    if version and version > most[call] then
      report('from nowhere: %s, when %d writes had begun', show(call), most[call])
    elseif version and born[version] and born[version].began > call.ended then
      report('from the future: %s, made by %s', show(call), show(born[version]))
    end
  end
end

local function count_writes(calls)
  local acknowledged, open = {}, {}
  for _, call in ipairs(calls) do
    if call.kind == 'write' then
      local into = call.outcome == 'done' and acknowledged or call.outcome == 'open' and open
      if into then into[call.writer] = (into[call.writer] or 0) + 1 end
    end
  end
  return acknowledged, open
end

-- Every acknowledged write is in the row, and nothing but what was acknowledged or is not known.
local function check_final(row, calls, final, base, report)
  local acknowledged, open = count_writes(calls)
  local sum, writers = 0, {}
  for _, counts in ipairs({ acknowledged, open, final.by, base.by }) do
    for writer in pairs(counts) do writers[writer] = true end
  end
  for writer in pairs(writers) do
    local there, before = final.by[writer] or 0, base.by[writer] or 0
    local acked, unknown = acknowledged[writer] or 0, open[writer] or 0
    sum, there = sum + there, there - before
    if there < acked then
      report('lost: row %d has %d of the %d writes that writer %d was told are done', row, there,
        acked, writer)
    elseif there > acked + unknown then
      report('row %d has %d writes of writer %d, of which %d are done and %d unknown', row, there,
        writer, acked, unknown)
    end
  end
  if sum ~= final.version then
    report('row %d is at version %s, after %d writes', row, tostring(final.version), sum)
  end
end

-- Between which versions a row of `lives` ends.
local function bounds(calls, base)
  local least, most = base.version, base.version
  for _, call in ipairs(calls) do
    if call.kind == 'write' and call.outcome ~= 'none' then
      most = math.max(most, call.version)
      if call.outcome == 'done' then least = math.max(least, call.version) end
    end
  end
  return least, most
end

local function check_final_life(row, calls, final, base, report)
  local least, most = bounds(calls, base)
  local version = final.version
  if version == false then version = absent_version(least, most) end
  if not version or version < least or version > most then
    report('row %d ends with %s, between the versions %d and %d', row, tostring(final.version),
      least, most)
  end
end

---@class consistency.Check
---@field lives table<integer, boolean>?
---@field final table<integer, consistency.Final>?
---@field base table<integer, consistency.Final>? what the database held before; all at version 0
---@field deadline number? seconds that a call may take
---@field pauses table<integer, number>? for how long a writer did not run
---@field window number[]? from when to when a read may begin that is stale and no violation

local function by_rows(calls)
  local rows = {}
  for _, call in ipairs(calls) do
    rows[call.row] = rows[call.row] or {}
    table.insert(rows[call.row], call)
  end
  return rows
end

--- What the database holds, for the run that follows: of a row that is not there, the version that
--- says so.
---@param calls consistency.Call[]
---@param lives table<integer, boolean>
---@param final table<integer, consistency.Final>
---@param base table<integer, consistency.Final>
---@return table<integer, consistency.Final>
function checker.base(calls, lives, final, base)
  local rows, all = by_rows(calls), {}
  for row, one in pairs(final) do
    local version = one.version
    if lives[row] and not version then
      local least, most = bounds(rows[row] or {}, base[row] or NOTHING)
      version = absent_version(least, most)
    end
    all[row] = { version = version or 0, by = one.by, id = one.id }
  end
  return all
end

--- Looks for what must not be.
---@param calls consistency.Call[]
---@param options? consistency.Check
---@return string[] violations
function checker.check(calls, options)
  options = options or {}
  local violations = {}
  local function report(text, ...) violations[#violations + 1] = text:format(...) end
  for _, call in ipairs(calls) do
    if call.outcome == 'torn' then report('torn: %s', show(call)) end
    local pause = options.pauses and options.pauses[call.writer] or 0
    local late = call.ended and options.deadline
      and call.ended - call.began - options.deadline - pause
    if late and late > 0 then report('late by %.1f s: %s', late, show(call)) end
  end
  for row, of_row in pairs(by_rows(calls)) do
    local lives = options.lives and options.lives[row]
    local base = options.base and options.base[row] or NOTHING
    check_row(of_row, lives, base, options.window, report)
    local final = options.final and options.final[row]
    if final then (lives and check_final_life or check_final)(row, of_row, final, base, report) end
  end
  return violations
end

return checker
