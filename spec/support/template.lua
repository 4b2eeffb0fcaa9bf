--- The data folder of a PostgreSQL as initdb makes it, which takes a second of a core. A run of the
--- specs makes one (tools/specs.lua), and its servers and those of specs begin with copies of it:
--- each has a system identifier of its own, for by that the cache tells servers apart.

local bit = require('bit')
local local_servers = require('stores.local')
local psql = require('spec.support.psql')
local shell = require('spec.support.shell')
local system = require('stores.local.system')

local template = {}

local IDENTIFIER = 8 -- bytes; the first ones of pg_control, and of each file of WAL behind a header
local WAL_HEADER = 24

local CRC32C = {}
for i = 0, 255 do
  local crc = i
  for _ = 1, 8 do
    local low = bit.band(crc, 1)
    crc = bit.bxor(bit.rshift(crc, 1), bit.band(-low, 0x82F63B78))
  end
  CRC32C[i] = crc
end

local function little_endian(number)
  local bytes = {}
  for i = 0, 3 do bytes[i + 1] = string.char(bit.band(bit.rshift(number, 8 * i), 255)) end
  return table.concat(bytes)
end

-- The offset of pg_control's checksum, which is of all before it; from: where the search begins.
local function checksum(control, from, to)
  local crc = -1
  for i = 1, to do
    crc = bit.bxor(CRC32C[bit.band(bit.bxor(crc, control:byte(i)), 255)], bit.rshift(crc, 8))
    local sum = little_endian(bit.bnot(crc))
    if i >= from and (from == to or control:sub(i + 1, i + 4) == sum) then return i, sum end
  end
end

local function read(path)
  local file = assert(io.open(path, 'rb'))
  local bytes = file:read('*a')
  file:close()
  return bytes
end

local function overwrite(path, at, bytes)
  local file = assert(io.open(path, 'r+b'))
  assert(file:seek('set', at))
  assert(file:write(bytes))
  file:close()
end

-- Gives a data folder whose server is not running another system identifier, and false where its
-- files are none that this knows.
local function set_apart(data)
  local path = data .. '/global/pg_control'
  local control = read(path)
  local at = checksum(control, IDENTIFIER, math.min(#control, 600) - 4)
  if not at then return false end
  local random = assert(io.open('/dev/urandom', 'rb'))
  local own = random:read(4) .. control:sub(5, IDENTIFIER) -- a second that was, as initdb has it
  random:close()
  local _, sum = checksum(own .. control:sub(IDENTIFIER + 1), at, at)
  for _, name in ipairs(system.list(data .. '/pg_wal')) do
    if #name == 24 and not name:find('%X') then
      overwrite(data .. '/pg_wal/' .. name, WAL_HEADER, own)
    end
  end
  overwrite(path, 0, own)
  overwrite(path, at, sum)
  return true
end

local function run(command, ...)
  local line = 'unset LD_PRELOAD; ' .. command:format(...)
  assert(os.execute(line) == 0, 'failed: ' .. line)
end

--- Makes a template in a folder that is not there yet.
---@param folder string
function template.make(folder)
  local handle = local_servers.up(folder)
  local oid, wal = psql(local_servers.config(handle), [[
    SELECT oid FROM pg_database WHERE datname = 'template0';
    SELECT pg_switch_wal();
    CHECKPOINT;
    SELECT pg_walfile_name(pg_current_wal_insert_lsn())]]):match('^(%d+)\n.*\n(%x+)\n$')
  handle.close()
  run("mkdir '%s/fixed' && mv '%s/pgdata/base/%s' '%s/fixed'", folder, folder, oid, folder)
  -- The end of initdb is all that is needed of its WAL, and the rest of that file is nothing, which
  -- needs no memory, and no copy, where the file system knows of holes.
  run("cd '%s/pgdata/pg_wal' && find . -type f ! -name %s -delete && "
    .. "{ fallocate --dig-holes %s 2>/dev/null || true; }", folder, wal, wal)
end

--- Makes a data folder from the template of the run (STORES_TEST_TEMPLATE); without one there is
--- none, and initdb makes it.
---@param data string a folder that is not there yet
---@return boolean made
function template.copy(data)
  local from = os.getenv('STORES_TEST_TEMPLATE')
  if not from then return false end
  -- Nobody can connect to template0, so nothing is ever written to its files: all copies share
  -- them where one file system has both.
  run("cp -a --reflink=auto '%s/pgdata' '%s' && { cp -al '%s'/fixed/* '%s/base' 2>/dev/null "
    .. "|| cp -a '%s'/fixed/* '%s/base'; }", from, data, from, data, from, data)
  if set_apart(data) then return true end
  shell.remove(data)
  return false
end

return template
