--- What each store was made of, as tables.lua resolved it. It may hold passwords, and so is no
--- field of the store that somebody prints.

---@type table<stores.Store, table>
return setmetatable({}, { __mode = 'k' })
