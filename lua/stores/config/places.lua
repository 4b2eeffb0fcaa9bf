--- Lists of places where servers are, as 'host:port' each.

local errors = require('stores.errors')
local options = require('stores.config.options')

local places = {}

-- The port of '...:port', or of '' which names none; false: it is no port.
local function port_of(text)
  if text == '' then return nil end
  local digits = text:match('^:(%d+)$')
  local port = digits and tonumber(digits)
  return port and port >= 1 and port <= 65535 and port or false
end

--- Takes 'host', 'host:port', '[address]:port' or a bare address apart.
---@param text string
---@return string? host nil: it is none of these
---@return integer? port nil: the text names none
function places.read(text)
  local host, rest = text:match('^%[([^%[%]]+)%](.*)$')
  if not host then
    host, rest = text:match('^([^:]+)(.*)$')
    -- an address that has colons of its own stands there without a port
    if select(2, text:gsub(':', '')) > 1 then host, rest = text, '' end
  end
  if not host or #host > 255 or host:find('[%s/@%[%]]') then return nil end
  local port = port_of(rest)
  if port == false then return nil end
  return host, port
end

--- A check for the name of one host.
---@type stores.Check
function places.host(value)
  local text, expected = options.text(value)
  if not text then return nil, expected end
  if text:find('://', 1, true) then return nil, 'a host name; a url goes in url' end
  return text
end

--- A check for an array of places, one at least.
---@param port integer of those that name none
---@return stores.Check
function places.list(port)
  local expected = "an array of places such as {'10.0.0.1:" .. port .. "'}"
  return options.typed('string[]', function(value)
    local names = options.names(value)
    if not names then return nil, ('%s, got %s'):format(expected, errors.kind(value)) end
    if #names == 0 then return nil, expected .. ', which names one at least' end
    local list = {}
    for i, name in ipairs(names) do
      if name:find('://', 1, true) then return nil, expected .. ', no urls' end
      local host, own = places.read(name)
      if not host or name:find('%z') then return nil, expected .. ", each 'host:port'" end
      list[i] = (host:find(':', 1, true) and '[%s]:%d' or '%s:%d'):format(host, own or port)
    end
    return list
  end)
end

return places
