--- The tables of docs/performance.md: each group of measurements has its own there, between
--- `<!-- NAME: written by bench/run.sh -->` and `<!-- end -->`, and --write puts what was measured
--- into them, with the machine, the versions and the commit. Nobody copies a figure by hand.
local system = require('bench.system')

local report = {}

local PAGE = os.getenv('STORES_BENCH_PAGE') or 'docs/performance.md'
local OPEN, CLOSE = '<!-- %s: written by bench/run.sh -->\n', '<!-- end -->'

---@class bench.Table
---@field name string of its place in the page
---@field told string what is said of all of it
---@field lines string[] of Markdown

---@type bench.Table[]
local tables = {}

--- 1234567.4 as 1,234,567.
---@param value number
---@return string
function report.whole(value)
  local text = ('%.0f'):format(value):reverse():gsub('(%d%d%d)', '%1,'):reverse()
  return (text:gsub('^,', ''))
end

--- Begins a table.
---@param name string
---@param headings string[]
---@param told string how often and how long was measured
function report.begin(name, headings, told)
  tables[#tables + 1] = { name = name, told = told, lines = {
    '| ' .. table.concat(headings, ' | ') .. ' |', '|' .. ('---|'):rep(#headings) } }
end

--- A row of the table that was begun last.
---@param ... string
function report.row(...)
  local lines = tables[#tables].lines
  lines[#lines + 1] = '| ' .. table.concat({ ... }, ' | ') .. ' |'
end

local function wrapped(text)
  local lines, line = {}, ''
  for word in text:gmatch('%S+') do
    if #line + #word >= 100 then
      lines[#lines + 1] = line
      line = ''
    end
    line = line .. (line == '' and '' or ' ') .. word
  end
  lines[#lines + 1] = line
  return table.concat(lines, '\n')
end

-- The page with a table in its place.
local function with(page, one, where)
  local open = OPEN:format(one.name)
  local from, last = page:find(open, 1, true)
  if not from then error(PAGE .. ' has no place for ' .. one.name, 0) end
  local to = assert(page:find(CLOSE, last, true), 'a table without an end')
  local told = wrapped(where .. '; ' .. one.told .. ':')
  return page:sub(1, last) .. told .. '\n\n' .. table.concat(one.lines, '\n') .. '\n'
    .. page:sub(to)
end

--- Writes all tables that were begun into the page.
function report.write()
  local file = assert(io.open(PAGE))
  local page = file:read('*a')
  file:close()
  local where = system.where()
  for _, one in ipairs(tables) do page = with(page, one, where) end
  system.write(PAGE, page)
end

return report
