--- A small HTTP client for specs, over unix sockets. In a controller of cqueues it waits as a
--- coroutine, elsewhere it blocks.

local cqueues = require('cqueues')
local socket = require('cqueues.socket')
local support = require('spec.support')

local http = {}

--- One request on a connection of its own.
---@param path string the socket, or an address and a port: '127.0.0.1:8080'
---@param method string
---@param target string
---@param body string?
---@param headers table<string, string>?
---@return integer? status nil: the connection failed
---@return string body or why it failed
---@return table<string, string> headers by their names in lower case
function http.request(path, method, target, body, headers)
  local host, port = path:match('^([%d.]+):(%d+)$')
  local conn = socket.connect(host and { host = host, port = port } or { path = path })
  conn:onerror(function(_, _, why) return why end)
  conn:setmode('b', 'bn')
  conn:settimeout(30)
  local lines = { ('%s %s HTTP/1.1'):format(method, target), 'Host: spec', 'Connection: close' }
  for name, value in pairs(headers or {}) do lines[#lines + 1] = name .. ': ' .. value end
  if body then lines[#lines + 1] = 'Content-Length: ' .. #body end
  local sent = conn:write(table.concat(lines, '\r\n') .. '\r\n\r\n' .. (body or ''))
  local text = sent and conn:read('*a')
  conn:close()
  if not text or text == '' then return nil, 'no answer', {} end
  local head, rest = text:match('^(.-\r\n)\r\n(.*)$')
  if not head then return nil, 'a cut answer', {} end
  local got = {}
  for name, value in head:gmatch('\r\n([^:\r\n]+): *([^\r\n]*)') do got[name:lower()] = value end
  if got['transfer-encoding'] == 'chunked' then
    local parts = {}
    while true do
      local size, at = rest:match('^(%x+)\r\n()')
      if not size then return nil, 'a cut answer', {} end
      local length = tonumber(size, 16)
      if length == 0 then break end
      parts[#parts + 1] = rest:sub(at, at + length - 1)
      rest = rest:sub(at + length + 2)
    end
    rest = table.concat(parts)
  end
  return tonumber(head:match('^HTTP/1%.%d (%d+)')), rest, got
end

--- Asks for a page, and goes away before the answer.
---@param path string the socket
---@param target string
---@param stay number|fun(): boolean how many seconds it stays, or until when
function http.leave(path, target, stay)
  local conn = socket.connect({ path = path })
  conn:setmode('b', 'bn')
  conn:write(('GET %s HTTP/1.1\r\nHost: spec\r\n\r\n'):format(target))
  if type(stay) == 'number' then
    cqueues.sleep(stay)
  else
    support.eventually(stay, 30, target .. ' to be under way')
  end
  conn:close()
end

return http
