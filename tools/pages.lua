-- Writes the man page and the bash completion of the command `stores`, of its own definitions; the
-- build calls it.
--   . tools/env.sh; luajit tools/pages.lua FOLDER
local completion = require('stores.command.completion')
local definitions = require('stores.command.definitions')
local troff = require('stores.command.troff')

local folder = arg[1]
if not folder or arg[2] then
  io.stderr:write('usage: luajit tools/pages.lua FOLDER\n')
  os.exit(2)
end

local function write(name, text)
  local file = assert(io.open(folder .. '/' .. name, 'w'))
  assert(file:write(text))
  assert(file:close())
end

local parser = definitions.parser()
write('stores.1', troff.page(parser, require('stores.core').version))
write('stores.bash', completion.bash(parser))
