--- The indexes that the server has, read as those of ours.

local indexes = {}

--- The beginning of the question for them: r is the index as a relation, i its row in pg_index.
--- Columns are as they say of themselves. Bits of an option: 1 is DESC, 2 NULLS FIRST.
indexes.SELECT = [[
SELECT r.oid::regclass::text AS name, i.indisvalid AS is_valid, i.indisunique AS is_unique,
  i.indpred IS NULL AS is_whole, m.amname::text AS method,
  (SELECT array_to_json(array_agg(pg_catalog.pg_get_indexdef(i.indexrelid, n, false) ORDER BY n))
    FROM generate_series(1, i.indnkeyatts) n) AS columns,
  (SELECT array_to_json(array_agg(o ORDER BY n))
    FROM unnest(i.indoption::int2[]) WITH ORDINALITY AS u(o, n)) AS options,
  (SELECT array_to_json(array_agg(c.opcname::text ORDER BY n))
    FROM unnest(i.indclass::oid[]) WITH ORDINALITY AS u(o, n)
    JOIN pg_catalog.pg_opclass c ON c.oid = u.o) AS classes
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class r ON r.oid = i.indexrelid
JOIN pg_catalog.pg_am m ON m.oid = r.relam]]

local OF = "^NULLIF%(%(value #> '(.*)'::text%[%]%), 'null'::jsonb%)$"
local TEXT = "^%(+value #>> '(.*)'::text%[%]%)+$"

-- The names of a path as array_out writes them, and a literal doubles its quotes.
local function names_of(text)
  local names, at = {}, 2
  text = text:gsub("''", "'")
  while at < #text do
    local name
    if text:sub(at, at) == '"' then
      local parts, from = {}, at + 1
      while text:sub(from, from) ~= '"' and from <= #text do
        if text:sub(from, from) == '\\' then from = from + 1 end
        parts[#parts + 1] = text:sub(from, from)
        from = from + 1
      end
      name, at = table.concat(parts), from + 1
    else
      name = text:match('^[^,}]*', at)
      at = at + #name
    end
    names[#names + 1] = name
    at = at + 1
  end
  return names
end

--- A row of the catalog as an index of ours; nil where it is another kind.
---@param row {method: string, columns: string[], options: integer[], classes: string[]}
---@return stores.sql.Index?
function indexes.read(row)
  if row.method ~= 'btree' then return nil end
  local keys = {}
  for i, column in ipairs(row.columns) do
    local option = row.options[i]
    local text = column:match(OF)
    if text and (option == 0 or option == 1) then
      keys[i] = { names = names_of(text), down = option == 1 }
    elseif i == 1 and column:match(TEXT) and row.classes[1] == 'text_pattern_ops' then
      return { keys = { { names = names_of(column:match(TEXT)), down = false } }, prefix = true }
    else
      if column ~= 'id' then return nil end
      break
    end
  end
  return keys[1] and { keys = keys, prefix = false } or nil
end

return indexes
