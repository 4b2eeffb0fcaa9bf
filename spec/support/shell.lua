--- Commands of the shell, and files, for specs of programs and builds.

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

--- A new folder, where the run keeps its data (STORES_TEST_ROOM), or in /tmp.
---@return string path
function shell.folder()
  local _, text = shell.run('mktemp -d "${STORES_TEST_ROOM:-/tmp}/stores-spec.XXXXXX"')
  return (text:gsub('%s+$', ''))
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
