--- Other programs, run with this terminal: what they are told of servers is in their environment,
--- where `ps` does not show it.

local ffi = require('ffi')

ffi.cdef 'int setenv(const char *name, const char *value, int overwrite);'

local shell = {}

--- Quotes a word for the shell.
---@param word string
---@return string
function shell.quoted(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

---@param words string[]
---@return string
function shell.line(words)
  local parts = {}
  for at, word in ipairs(words) do parts[at] = shell.quoted(word) end
  return table.concat(parts, ' ')
end

--- Sets variables of this process, which its children have, too.
---@param variables table<string, string>
function shell.set(variables)
  for name, value in pairs(variables) do ffi.C.setenv(name, value, 1) end
end

--- Runs a program to its end, with the three files of this one; signals of the terminal are its.
---@param words string[]
---@param variables? table<string, string> they stay set
---@param redirect? string the shell's, behind the words
---@return integer status
function shell.run(words, variables, redirect)
  shell.set(variables or {})
  -- what is written before it comes before it
  io.stdout:flush()
  local status = os.execute(shell.line(words) .. (redirect and ' ' .. redirect or ''))
  if status % 256 ~= 0 then return 128 + status % 128 end
  return math.floor(status / 256)
end

--- What a program writes to stdout.
---@param words string[]
---@param variables? table<string, string>
---@return string text
---@return integer status
function shell.output(words, variables)
  shell.set(variables or {})
  local pipe = assert(io.popen(shell.line(words) .. "; printf '\\n%d' $?"))
  local text, status = pipe:read('*a'):match('^(.*)\n(%d+)$')
  pipe:close()
  return text, tonumber(status)
end

--- Whether there is such a program.
---@param name string
---@return boolean
function shell.has(name)
  return os.execute('command -v ' .. shell.quoted(name) .. ' >/dev/null 2>&1') == 0
end

return shell
