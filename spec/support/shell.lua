--- Commands of the shell, and files, for which no shell is started: a program costs a millisecond
--- or two of a core, and specs make and remove thousands.

local uv = require('luv')

local shell = {}

--- Quotes a word for the shell.
---@param word string
---@return string
function shell.quoted(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

--- Runs a command; gives its status, and what it wrote to either output.
---@param command string
---@return integer status
---@return string text
function shell.run(command)
  local pipe = assert(io.popen('(' .. command .. ') 2>&1; echo "status $?"'))
  local text, status = pipe:read('*a'):match('^(.*)status (%d+)\n$')
  pipe:close()
  return tonumber(status), text
end

--- What a command wrote.
---@param command string
---@return string text
function shell.output(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read('*a')
  pipe:close()
  return text
end

--- A new folder of its own user's alone.
---@param room? string where the run keeps its data (STORES_TEST_ROOM), or /tmp, where it is left
--- out; sockets need the short path of /tmp
---@return string path
function shell.folder(room)
  room = room or os.getenv('STORES_TEST_ROOM') or '/tmp'
  return assert(uv.fs_mkdtemp(room .. '/stores-spec.XXXXXX'))
end

---@param path string
---@return boolean
function shell.exists(path) return uv.fs_stat(path) ~= nil end

--- Makes a folder.
---@param path string
---@param mode? string of digits, 755 where it is left out
function shell.make(path, mode)
  assert(uv.fs_mkdir(path, tonumber('777', 8)))
  assert(uv.fs_chmod(path, tonumber(mode or '755', 8)))
end

--- Removes a file, or a folder and all that is in it.
---@param path string
---@return boolean gone false where something is still there, as where others write to it meanwhile
function shell.remove(path)
  local stat = uv.fs_lstat(path)
  if not stat then return true end
  if stat.type ~= 'directory' then return uv.fs_unlink(path) or not uv.fs_lstat(path) end
  local names = uv.fs_scandir(path)
  while names do
    local name, kind = uv.fs_scandir_next(names)
    if not name then break end
    local below = path .. '/' .. name
    if kind == 'file' then uv.fs_unlink(below) else shell.remove(below) end
  end
  return uv.fs_rmdir(path) or not uv.fs_lstat(path)
end

--- What a file holds; raises where there is none.
---@param path string
---@return string
function shell.read(path)
  local file = assert(io.open(path))
  local text = file:read('*a')
  file:close()
  return text
end

---@param path string
---@param text string
function shell.write(path, text)
  local file = assert(io.open(path, 'w'))
  file:write(text)
  file:close()
end

return shell
