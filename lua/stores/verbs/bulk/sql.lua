--- The SQL of bulk work. Documents go as one JSON array, which needs no quoting of its own, or as
--- the data of a COPY; ids as the text of an array.

local expression = require('stores.sql.expression')
local query = require('stores.sql.query')

local sql = {}

sql.COPY = 'COPY %T (id, value) FROM STDIN'

-- By id, so that two who write the same rows lock them in one order.
local GIVEN = " OVERRIDING SYSTEM VALUE SELECT (e->>'id')::bigint, e"
  .. ' FROM pg_catalog.jsonb_array_elements($1::jsonb) AS e ORDER BY 1'

-- Of a row of a declared table: a newer program did not write it.
local function is_known_version(definition, alias, add)
  local member = expression.literal(definition.version_member)
  return (" WHERE coalesce(NULLIF(%s.value -> %s, 'null'), '1') <= %s"):format(alias, member,
    add(('%d'):format(definition.version), 'jsonb'))
end

local ETAG = ', md5(%svalue::text) AS etag'

--- Stores documents. Gives the id of each row that was written, 't' where it was not there before,
--- and with `etag` its etag.
---@param conflict 'fail'|'ignore'|'replace'
---@param json string the documents, as an array
---@param definition stores.Definition?
---@param opts {etag: boolean?, plain: boolean?} plain: the rows tell whether they are new
---@return string text
---@return string[] params
function sql.insert(conflict, json, definition, opts)
  local params, add = query.new_params(json)
  local text = 'INSERT INTO %T AS t (id, value)' .. GIVEN
  local fresh = "'t'"
  if conflict == 'ignore' then
    text = text .. ' ON CONFLICT DO NOTHING'
  elseif conflict == 'replace' then
    text = text .. ' ON CONFLICT (id) DO UPDATE SET value = excluded.value'
    if definition and definition.version then
      text = text .. is_known_version(definition, 't', add)
    end
    fresh = opts.plain and 't.xmax = 0' or "''"
  end
  return text .. ' RETURNING t.id, ' .. fresh .. (opts.etag and ETAG:format('t.') or ''), params
end

--- Replaces documents of rows that are there. Gives their ids.
---@param json string
---@return string text
---@return string[] params
function sql.update(json)
  return 'UPDATE %T AS t SET value = given.e'
    .. ' FROM pg_catalog.jsonb_array_elements($1::jsonb) AS given (e)'
    .. " WHERE t.id = (given.e->>'id')::bigint RETURNING t.id", { json }
end

--- Deletes rows by their ids. Gives the ids of those that were there.
---@param list string[]
---@param condition (fun(add: stores.sql.Add): string)? one more
---@param is_not boolean? of those that do not meet it
---@return string text
---@return string[] params
function sql.delete(list, condition, is_not)
  local params, add = query.new_params(sql.array(list))
  local text = 'DELETE FROM %T WHERE id = ANY($1::bigint[])'
  if condition then
    text = text .. (is_not and ' AND NOT (' or ' AND (') .. condition(add) .. ')'
  end
  return text .. ' RETURNING id', params
end

--- Which of the ids there are, as it is now.
sql.THERE = 'SELECT id::text AS row_id FROM %T WHERE id = ANY($1::bigint[])'

--- Locks rows, in the order of their ids, and gives them.
---@param list string[]
---@param condition string? that they still have to meet, over the parameters behind the first
---@param params string[]
---@param writes boolean? by a write, which gives them in no order: of rows on several servers
---@return string text
---@return string[] params
function sql.lock(list, condition, params, writes)
  local all = { sql.array(list), unpack(params) }
  local more = condition and condition:gsub('%$(%d+)', function(number)
    return '$' .. tonumber(number) + 1
  end):gsub('^ WHERE ', ' AND ') or ''
  if writes then
    return 'UPDATE %T SET value = value WHERE id = ANY($1::bigint[])' .. more
      .. ' RETURNING id, value::text', all
  end
  return 'SELECT id, value::text FROM %T WHERE id = ANY($1::bigint[])' .. more
    .. ' ORDER BY id FOR UPDATE', all
end

--- How a table can be written: whether its rows tell by xmax that they are new, and COPY may.
sql.KIND = "SELECT relkind = 'r' AND NOT relrowsecurity AS plain FROM pg_catalog.pg_class"
  .. ' WHERE oid = $1::regclass'

--- The text of an array of ids.
---@param list string[]
---@return string
function sql.array(list)
  return '{' .. table.concat(list, ',') .. '}'
end

--- A document as COPY reads it: JSON has no tab and no newline of its own, but in its spaces.
---@param text string
---@return string
function sql.copied(text)
  -- plain ones are found many times faster than a pattern
  if text:find('\\', 1, true) or text:find('\t', 1, true) or text:find('\n', 1, true)
    or text:find('\r', 1, true) then
    return (text:gsub('[\\\t\r\n]', { ['\\'] = '\\\\', ['\t'] = ' ', ['\r'] = ' ', ['\n'] = ' ' }))
  end
  return text
end

--- The data of a COPY.
---@param list string[] ids
---@param texts string[] documents
---@return string
function sql.data(list, texts)
  local lines = {}
  for i = 1, #list do
    lines[4 * i - 3], lines[4 * i - 2] = list[i], '\t'
    lines[4 * i - 1], lines[4 * i] = sql.copied(texts[i]), '\n'
  end
  return table.concat(lines)
end

return sql
