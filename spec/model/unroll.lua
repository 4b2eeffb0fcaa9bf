--- The parts of a model, as source in which the short loops over its processes are written out.
--
-- LuaJIT compiles loops that run long. One that ends after a turn or two it gives up, and with it
-- all that leads through it, so that a model of two writers would be interpreted for the most part.

local KEYWORDS = { ['if'] = 1, ['do'] = 1, ['function'] = 1, ['repeat'] = 1, ['end'] = -1,
  ['until'] = -1 }
local MOST = 12 -- turns; a longer loop is left as it is

-- The body of the block that begins at `from`, and where what is behind its `end` begins.
local function block_at(source, from)
  local depth, at = 1, from
  while depth > 0 do
    local first, last, token = source:find("([%a_'%-][%w_]*)", at)
    if token == '-' and source:sub(first, first + 1) == '--' then
      last = source:find('\n', first)
    elseif token:sub(1, 1) == "'" then
      last = source:find("'", first + 1)
    else
      depth = depth + (KEYWORDS[token] or 0)
    end
    if depth == 0 then return source:sub(from, first - 1), last + 1 end
    at = last + 1
  end
end

local unroll = {}

--- The source with each loop written out whose bounds are numbers, or names of numbers in `known`.
---@param source string
---@param known table<string, integer>
---@return string
function unroll.loops(source, known)
  local out, at = {}, 1
  while true do
    local first, last, name, bounds = source:find('for (%a+) = ([%w_]+, [%w_, ]+) do%f[%W]', at)
    if not first then break end
    local body, behind = block_at(source, last + 1)
    local numbers = {}
    for bound in bounds:gmatch('[%w_]+') do
      table.insert(numbers, tonumber(bound) or tonumber(known[bound]) or false)
    end
    local from, to, step = numbers[1], numbers[2], numbers[3]
    if step == nil then step = 1 end
    local short = from and to and step and (to - from) / step < MOST
    out[#out + 1] = source:sub(at, first - 1)
    body = unroll.loops(body, known)
    if not short or body:find('%f[%a]break%f[%A]') then
      out[#out + 1] = source:sub(first, last) .. body .. 'end'
    else
      local turns, lines = {}, body:gsub('[^\n]', '')
      for value = from, to, step do
        table.insert(turns, ('do local %s = %d %s end '):format(name, value, body))
        body = body:gsub('%-%-[^\n]*', ''):gsub('\n', ' ') -- what follows keeps its line
      end
      out[#out + 1] = turns[1] and table.concat(turns) or lines
    end
    at = behind
  end
  return table.concat(out) .. source:sub(at)
end

--- Runs a part of a model for the bounds that c and layout tell of: where a bound of a loop is
--- called as a number in these is, it is that number.
---@param name string the part's, as for require
---@param c table what the parts of a model have in common
---@param layout table
---@param model table
function unroll.part(name, c, layout, model)
  local path = assert(package.searchpath(name, package.path))
  local file = assert(io.open(path))
  local source = file:read('*a')
  file:close()
  local known = setmetatable({}, { __index = function(_, key) return c[key] or layout[key] end })
  assert(loadstring(unroll.loops(source, known), '@' .. path))()(c, model)
end

return unroll
