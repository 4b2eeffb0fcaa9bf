--- Files that may be compressed: zlib reads gzip and anything else alike, and writes gzip.

local errors = require('stores.errors')
local ffi = require('ffi')

ffi.cdef [[
typedef struct stores_gz *stores_gz;
stores_gz gzopen(const char *path, const char *mode);
stores_gz gzdopen(int fd, const char *mode);
int gzbuffer(stores_gz file, unsigned size);
int gzread(stores_gz file, void *buffer, unsigned len);
int gzwrite(stores_gz file, const void *data, unsigned len);
long gzoffset(stores_gz file);
int gzclose(stores_gz file);
const char *gzerror(stores_gz file, int *number);
int dup(int fd);
]]

local gzip = {}

local BUFFER = 256 * 1024
local NAMES = { 'libz.so.1', 'z', 'libz.dylib' }
local zlib

local function library()
  for _, name in ipairs(zlib and {} or NAMES) do
    local ok, found = pcall(ffi.load, name)
    if ok then
      zlib = found
      break
    end
  end
  if not zlib then
    errors.raise('unsupported', 'there is no zlib: install zlib1g')
  end
  return zlib
end

-- What zlib says of a file, or the system.
local function problem(file)
  local number = ffi.new('int[1]')
  local text = ffi.string(library().gzerror(file, number))
  if number[0] == -1 or text == '' then return 'error ' .. ffi.errno() end
  return text
end

local function open(path, fd, mode, what)
  local z = library()
  local file = path and z.gzopen(path, mode) or not path and z.gzdopen(ffi.C.dup(fd), mode) or nil
  if file == nil then
    local why = path and select(2, io.open(path, mode:sub(1, 1))) or what
    errors.raise('invalid_argument', 'cannot open ' .. tostring(why or path))
  end
  z.gzbuffer(file, BUFFER)
  return file
end

-- ---- Reading ------------------------------------------------------------------------------------

---@class stores.gzip.Reader
---@field line integer the number of the line that was read last
local Reader = {}
Reader.__index = Reader

--- Opens a file, or stdin where there is no path, whose lines are read.
---@param path string?
---@return stores.gzip.Reader
---Raises invalid_argument, unsupported.
function gzip.reader(path)
  return setmetatable({ file = open(path, 0, 'rb', 'stdin'), path = path or 'stdin', line = 0,
    rest = '', at = 1, over = false, buffer = ffi.new('char[?]', BUFFER) }, Reader)
end

-- More of the file behind what is left of it.
local function read_on(self)
  local got = library().gzread(self.file, self.buffer, BUFFER)
  if got < 0 then
    errors.raise('unreadable', ('%s cannot be read behind line %d: %s'):format(self.path, self.line,
      problem(self.file)))
  elseif got == 0 then
    local number = ffi.new('int[1]')
    local text = ffi.string(library().gzerror(self.file, number))
    if number[0] ~= 0 then
      errors.raise('unreadable', ('%s ends too early, behind line %d: %s'):format(self.path,
        self.line, text))
    end
    self.over = true
  end
  return ffi.string(self.buffer, got)
end

-- The rest of a line that is longer than what was read at once.
local function long_line(self)
  local parts = { self.rest:sub(self.at) }
  while not self.over do
    local more = read_on(self)
    local stop = more:find('\n', 1, true)
    if stop then
      parts[#parts + 1] = more:sub(1, stop - 1)
      self.rest, self.at = more, stop + 1
      return table.concat(parts)
    end
    parts[#parts + 1] = more
  end
  self.rest, self.at = '', 1
  local text = table.concat(parts)
  return text ~= '' and text or nil
end

--- The next line, without its end; nil: there is none.
---@return string?
---Raises unreadable.
function Reader:read()
  local stop = self.rest:find('\n', self.at, true)
  local text
  if stop then
    text = self.rest:sub(self.at, stop - 1)
    self.at = stop + 1
  else
    text = long_line(self)
  end
  if text then self.line = self.line + 1 end
  return text
end

--- How much of the file itself was read.
---@return number
function Reader:offset()
  return tonumber(library().gzoffset(self.file))
end

function Reader:close()
  if self.file then library().gzclose(self.file) end
  self.file = nil
end

-- ---- Writing ------------------------------------------------------------------------------------

---@class stores.gzip.Writer
local Writer = {}
Writer.__index = Writer

--- Opens a file that is compressed.
---@param path string
---@param is_more boolean it is written behind what is there
---@return stores.gzip.Writer
---Raises invalid_argument, unsupported.
function gzip.writer(path, is_more)
  return setmetatable({ file = open(path, nil, is_more and 'ab6' or 'wb6'), path = path }, Writer)
end

---@param text string
---Raises server_full.
function Writer:write(text)
  if #text > 0 and library().gzwrite(self.file, text, #text) ~= #text then
    errors.raise('server_full', ('%s cannot be written: %s'):format(self.path, problem(self.file)))
  end
end

--- Writes what is left. Raises server_full.
function Writer:close()
  local file = self.file
  self.file = nil
  if file and library().gzclose(file) ~= 0 then
    errors.raise('server_full', self.path .. ' cannot be written to its end')
  end
end

return gzip
