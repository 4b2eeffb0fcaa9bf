--- The statement of a list: which rows, in what order, from where on, how many, and what of them;
--- and the cursors of what came.
---
--- Criteria by containment are in a materialised CTE: with ORDER BY and LIMIT, a generic plan would
--- otherwise walk the primary key, or another index of the order, and look at every document
--- instead of asking the GIN index. All others stand beside the order, so that one index serves
--- both.

local cursor = require('stores.sql.cursor')
local errors = require('stores.errors')
local fields = require('stores.sql.fields')
local order = require('stores.sql.order')

local pages = {}

---@class stores.sql.Page what a list needs to know beside its options, and what it is told
---@field table string? the table that cursors are of
---@field has_cursors boolean? the rows come with what a cursor needs
---@field one_more boolean? one row more is asked for, which tells whether there are more
---@field only_places boolean? no documents: `row_id` and, where the order has keys, `row_keys`
---@field whole boolean? documents come as a whole, and who asked makes parts of them
---@field most integer? told: how many of the rows that come are of the page
---@field order stores.sql.Order? told
---@field back boolean? told: it goes backwards
---@field group stores.sql.Group? told: what `where` asks
---@field contains boolean? told: a document is to be contained, or a path to find something
---@field position stores.sql.Position? where it begins, where that is known; told elsewhere

---@class stores.sql.Source
---@field conditions string[]
---@field fenced boolean they are looked up before rows are put in order
---@field fixed table<string, boolean> paths that are equal to one value in all rows

local function where(conditions)
  return #conditions > 0 and ' WHERE ' .. table.concat(conditions, ' AND ') or ''
end

-- One condition of all parts.
local function either(parts)
  if #parts == 1 then return parts[1] end
  return '((' .. table.concat(parts, ') OR (') .. '))'
end

local function with(list, item)
  local all = {}
  for i, one in ipairs(list) do all[i] = one end
  all[#all + 1] = item
  return all
end

-- Each part is a range of an index, read no further than the page goes.
local function in_parts(source, parts, output, clause, limit)
  local selects = {}
  for i, part in ipairs(parts) do
    selects[i] = ('(SELECT %d AS part, id, value FROM %%T%s ORDER BY %s%s)'):format(i,
      where(with(source.conditions, part)), clause, limit)
  end
  return ('SELECT %s FROM (%s) page ORDER BY part, %s%s'):format(output,
    table.concat(selects, ' UNION ALL '), clause, limit)
end

-- What is read: from where, and in which direction.
local function begin(opts, page)
  local by = order.read(opts.order)
  if opts.after ~= nil and opts.before ~= nil then
    errors.raise('invalid_option', "a page goes on behind 'after', or back from 'before': not both")
  end
  page.order, page.back = by, opts.before ~= nil
  local given = page.back and opts.before or opts.after
  if given ~= nil then
    page.position = cursor.read(given, page.back and 'before' or 'after', page.table, by)
  end
  return by, page.position
end

-- The end of a statement that gives so many rows, and where it is asked for one more; notes how
-- many of them are of the page.
local function limited(opts, add, page)
  if not opts.limit then return '' end
  local one_more = page and page.one_more
  if page then page.most = one_more and opts.limit or nil end
  return ' LIMIT ' .. add(('%d'):format(opts.limit + (one_more and 1 or 0)), 'bigint')
end

--- Writes the statement. Its rows are the id, the document, and the values of the order's keys
--- where it has any and cursors are wanted.
---@param source stores.sql.Source
---@param opts stores.sql.Tail
---@param add stores.sql.Add
---@param page stores.sql.Page?
---@return string sql
function pages.select(source, opts, add, page)
  page = page or {}
  local by, position = begin(opts, page)
  local parts = by:parts(position, page.back, source.fixed, add)
  local document = fields.document(opts.fields)
  local output = 'id, ' .. (page.whole and fields.document(nil) or document)
  if page.only_places then
    output = 'id::text AS row_id'
    if by:values() then output = output .. (', %s AS row_keys'):format(by:values()) end
  elseif page.has_cursors and by:values() then
    output = output .. ', ' .. by:values()
  end
  local limit = limited(opts, add, page)
  if parts and #parts > 1 and opts.limit and not source.fenced then
    return in_parts(source, parts, output, by:clause(page.back, by:is_backwards(source.fixed)),
      limit)
  end
  local clause = by:clause(page.back, false)
  local rest = position and either(parts)
  if source.fenced then
    return ('WITH hit AS MATERIALIZED (SELECT id, value FROM %%T%s) SELECT %s FROM hit%s ORDER BY '
      .. '%s%s'):format(where(source.conditions), output, rest and where({ rest }) or '', clause,
      limit)
  end
  return ('SELECT %s FROM %%T%s ORDER BY %s%s'):format(output,
    where(rest and with(source.conditions, rest) or source.conditions), clause, limit)
end

-- The statement of the rows that meet a condition, by the condition, which is one of a few texts.
local plain = {}

--- Writes the statement of a list of which nothing is said but what its rows contain and how many
--- there are: the commonest one, whose text is made once.
---@param condition string?
---@param opts stores.sql.Tail
---@param add stores.sql.Add
---@param page stores.sql.Page?
---@return string sql
function pages.plain(condition, opts, add, page)
  local text = plain[condition or '']
  if not text then
    text = pages.select({ conditions = { condition }, fenced = condition ~= nil, fixed = {} }, {},
      add)
    plain[condition or ''] = text
  end
  if page then page.order, page.back = order.read(nil), false end
  return text .. limited(opts, add, page)
end

--- Turns a list round.
---@generic T
---@param list T[]
---@return T[] list the same
function pages.reverse(list)
  local count = #list
  for i = 1, math.floor(count / 2) do
    list[i], list[count - i + 1] = list[count - i + 1], list[i]
  end
  return list
end

-- The cursor of a row; a row of a view may have no id, and then no place.
local function cursor_of(page, id, keys)
  return id and cursor.write(page.table, page.order, id, keys) or nil
end

--- The documents of a page in their order, and the cursors of the pages behind and before it. The
--- one in the direction of the call is there exactly where there are more rows; the other one where
--- the page did not begin at the end.
---@param page stores.sql.Page
---@param documents stores.Document[]
---@param last_id string? of the last row that came, with the values of its keys
---@param is_more boolean
---@param last_keys string?
---@param first_id string?
---@param first_keys string?
---@return stores.Document[] documents
---@return string? next for `after`
---@return string? previous for `before`
function pages.finish(page, documents, last_id, is_more, last_keys, first_id, first_keys)
  local onward = is_more and cursor_of(page, last_id, last_keys) or nil
  local back = page.position and cursor_of(page, first_id, first_keys) or nil
  if page.back then return pages.reverse(documents), back, onward end
  return documents, onward, back
end

return pages
