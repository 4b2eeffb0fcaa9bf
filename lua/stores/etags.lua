--- Etags: what tells one state of a row from another, a digest of its stored text that the core
--- makes, with the quotes that headers of HTTP have around it.

local errors = require('stores.errors')

local etags = {}

---@alias stores.Etag string

-- A userdata, so that nobody takes it for a document: it can neither be indexed nor stored.
local unchanged = newproxy(true)
getmetatable(unchanged).__tostring = function() return 'stores.unchanged' end

--- What a find gives in place of a document that its caller has.
---@type userdata
etags.unchanged = unchanged

--- The digits of an etag: as it was given, without its quotes, or as a header has it that was made
--- weak on its way, as compression does.
---@param etag stores.Etag
---@param what string the option that has it
---@return string
---Raises invalid_argument.
function etags.check(etag, what)
  local digits = type(etag) == 'string' and (etag:match('^"(%x+)"$') or etag:match('^W/"(%x+)"$')
    or etag:match('^%x+$'))
  if not digits or #digits ~= 32 or digits:find('%u') then
    errors.raise('invalid_argument', ('%s is no etag: give one as it came, from a find with '
      .. 'etag = true'):format(what))
  end
  return digits
end

return etags
