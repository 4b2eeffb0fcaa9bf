--- The lists that bench/run.sh --lists measures: by name, what findByJSON is called with. The table
--- is bench_lists (bench/lists.lua), with an index for each.

local NULL = require('stores').json.null

local forms = {}

---@class bench.Form
---@field name string
---@field doc table?
---@field opts table

local function form(name, opts, doc)
  opts.limit = opts.limit or 20
  forms[#forms + 1] = { name = name, opts = opts, doc = doc }
end

form('contains', {}, { tags = { 't7' } })
form('=', { where = { { 'age', '=', 500 } } })
form('= null', { where = { { 'age', '=', NULL } } })
form('<', { where = { { 'age', '<', 5 } }, order = { 'age' } })
form('>=', { where = { { 'age', '>=', 19990 } }, order = { 'age' } })
form('in', { where = { { 'age', 'in', { 1, 500, 7000 } } }, order = { 'age' } })
form('prefix', { where = { { 'name', 'prefix', 'name 7777' } } })
form('has', { where = { { 'tags', 'has', 't7' } } })
form('exists', { where = { { 'rare', 'exists' } }, order = { 'rare' } })
form('any', { where = { any = { { 'age', '=', 500 }, { 'city', '=', 'city 7' } } } })
form('= and none', { where = { { 'age', '=', 500 }, none = { { 'city', '=', 'city 7' } } } })
form('contains and =', { where = { { 'age', '=', 7 } } }, { tags = { 't7' } })
form('order', { order = { 'age' }, all = true }, {})
form('order down', { order = { '-age' }, all = true }, {})
form('order by two keys', { order = { 'city', '-age' }, all = true }, {})
form('= and order', { where = { { 'city', '=', 'city 7' } }, order = { '-age' } })
form('page', { order = { 'city', '-age' }, all = true, after = true }, {})
form('fields', { where = { { 'age', '=', 500 } }, fields = { 'name' } })

return forms
