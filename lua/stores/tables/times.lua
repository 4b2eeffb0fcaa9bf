--- Times in documents: a number of seconds since 1970, or a text of RFC 3339 in UTC, as in
--- '2026-07-31T12:00:00Z', with a fraction or without. In that form, and in no other, texts stand
--- in the order of the times that they mean, so that SQL and Lua agree on which of two is earlier.

local errors = require('stores.errors')
local expression = require('stores.sql.expression')
local json = require('stores.json')

local times = {}

local SECONDS = '^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d'
local WHOLE, FRACTION = SECONDS .. 'Z$', SECONDS .. '%.%d+Z$'
local TEXT_SQL = '^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(\\.\\d+)?Z$'

local function is_text(value)
  return type(value) == 'string' and (value:find(WHOLE) or value:find(FRACTION)) ~= nil
end

local function in_range(value, first, last)
  value = tonumber(value)
  return value >= first and value <= last
end

--- The value at a path of a document; nil where there is none, or null.
---@param document table
---@param path string[]
---@return any
function times.at(document, path)
  local value = document
  for _, name in ipairs(path) do
    if type(value) ~= 'table' then return nil end
    value = value[name]
  end
  if value == json.null then return nil end
  return value
end

--- Why a value is no time that a document may have there; nil: it is one, or there is none.
---@param value any
---@return string?
function times.objection(value)
  if value == nil or type(value) == 'number' or json.is_number(value) then return nil end
  if not is_text(value) then
    return ("a time is a number of seconds since 1970, or a text such as '2026-07-31T12:00:00Z', "
      .. 'got ' .. errors.kind(value))
  end
  if in_range(value:sub(6, 7), 1, 12) and in_range(value:sub(9, 10), 1, 31)
    and in_range(value:sub(12, 13), 0, 23) and in_range(value:sub(15, 16), 0, 59)
    and in_range(value:sub(18, 19), 0, 60) then
    return nil
  end
  return 'the text is of the form of a time, and no time'
end

--- A time as text, without its Z, so that a shorter fraction stands before a longer one.
---@param now number seconds since 1970
---@return string
function times.text(now)
  local whole = math.floor(now)
  return os.date('!%Y-%m-%dT%H:%M:%S', whole) .. ('%.6f'):format(now - whole):sub(2)
end

--- Whether a value is a time that is over. What is none never is.
---@param value any
---@param now number
---@return boolean
function times.is_over(value, now)
  if is_text(value) then return value:sub(1, -2) <= times.text(now) end
  local seconds = (type(value) == 'number' or json.is_number(value)) and tonumber(tostring(value))
  return seconds and seconds <= now or false
end

--- The parameters by which SQL tells what is over: the time as a number, and as text.
---@param now number
---@return string number
---@return string text
function times.params(now)
  return ('%.6f'):format(now), times.text(now)
end

--- The condition that the time at a path is over, or there is none.
---@param path string[]
---@param number string placeholder of the parameter, a jsonb
---@param text string the same, a text
---@return string sql
function times.is_alive_sql(path, number, text)
  local value = expression.plain(path)
  local as_text = expression.text(path)
  return ("CASE jsonb_typeof(%s) WHEN 'number' THEN (%s) > %s WHEN 'string' THEN "
    .. "%s !~ %s OR rtrim(%s, 'Z') COLLATE \"C\" > %s ELSE true END"):format(value, value,
    number, as_text, expression.literal(TEXT_SQL), as_text, text)
end

--- The condition that the time at a path is to come, or that there is none. Of what is no time it
--- is false.
---@param path string[]
---@param number string placeholder of the parameter, a jsonb
---@param text string the same, a text
---@return string sql
function times.is_to_come_sql(path, number, text)
  local value, as_text = expression.plain(path), expression.text(path)
  return ("CASE coalesce(jsonb_typeof(%s), 'null') WHEN 'null' THEN true WHEN 'number' THEN "
    .. "(%s) > %s WHEN 'string' THEN %s ~ %s AND rtrim(%s, 'Z') COLLATE \"C\" > %s "
    .. "ELSE false END"):format(value, value, number, as_text, expression.literal(TEXT_SQL),
    as_text, text)
end

--- The rows whose time is over, by the index over the path, for each of the two forms of a time.
---@param path string[]
---@param now number
---@return {condition: string, param: string}[] in which $1 is the parameter
function times.over_sql(path, now)
  local indexed, value, as_text = expression.of(path), expression.plain(path),
    expression.text(path)
  local number, text = times.params(now)
  return {
    { param = number, condition = ("%s > '-1e300'::jsonb AND %s <= $1::jsonb "
      .. "AND jsonb_typeof(%s) = 'number'"):format(indexed, indexed, value) },
    -- by the collation of the database the index may be some fraction of a second off
    { param = text, condition = ("%s > '\"\"'::jsonb AND %s <= to_jsonb(left($1::text, 19) || '~') "
      .. "AND jsonb_typeof(%s) = 'string' AND %s ~ %s AND rtrim(%s, 'Z') COLLATE \"C\" <= $1::text")
      :format(indexed, indexed, value, as_text, expression.literal(TEXT_SQL), as_text) },
  }
end

return times
