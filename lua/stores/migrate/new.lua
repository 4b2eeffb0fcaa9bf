--- A new entry at the end of a migration file.

local errors = require('stores.errors')
local options = require('stores.config.options')

local new = {}

local OPTIONS = { where = 'the options of new',
                  keys = { type = options.one_of({ 'db', 'lua', 'backfill' }) } }

-- Lint says `empty` of one that nobody filled in.
local TEMPLATES = {
  db = [==[
  { name = %s, migration = [[
      -- its statements
  ]] },
]==],
  lua = [==[
  { name = %s, type = 'lua', version = '1', migration = function(tx)
    error('nothing is written yet')
  end },
]==],
  backfill = [==[
  { name = %s, type = 'backfill', table = 'nowhere', version = '1', fn = function(document)
    error('nothing is written yet')
  end },
]==],
}

local HEAD = '-- Migrations, in order: docs/migrations.md of Stores.\nreturn {\n'

local function read(path)
  local file = io.open(path, 'rb')
  local text = file and file:read('*a')
  if file then file:close() end
  return text
end

local function write(path, text)
  local file, problem = io.open(path, 'wb')
  local ok = file and file:write(text) and file:close()
  if not ok then
    errors.raise('invalid_argument', ('the migration file cannot be written: %s'):format(
      tostring(problem or path)))
  end
end

-- What may have to stand between the last entry and a new one: nothing, a comma, or one behind a
-- comment.
local BETWEEN = { '', ',', '\n  ,' }

-- The texts that may be the file's with the entry before its last brace, which ends the list where
-- the file is as usual.
local function with_entry(text, entry)
  if not text then return { HEAD .. entry .. '}\n' } end
  local before, after = text:match('^(.*)(}[^}]*)$')
  local texts = {}
  for place, between in ipairs(before and BETWEEN or {}) do
    texts[place] = before:gsub('%s*$', '') .. between .. '\n' .. entry .. after
  end
  return texts
end

local function names_of(entries)
  local names = {}
  for place, entry in ipairs(entries) do
    if type(entry) == 'table' then names[place] = entry.name or false end
  end
  return names
end

-- A file that is not there yet, whoever else may have one.
local function beside_of(path)
  repeat path = path .. '.new' until not read(path)
  return path
end

-- Whether a text returns what the file does, and the entry behind it. It is written beside the
-- file, so that what it requires and reads is found.
local function is_good(path, text, name, before, load)
  local beside = beside_of(path)
  write(beside, text)
  local ok, entries = pcall(load, beside)
  os.remove(beside)
  if not ok then return false end
  local after = names_of(entries)
  for place, one in ipairs(before) do
    if after[place] ~= one then return false end
  end
  return #after == #before + 1 and after[#after] == name
end

--- Adds an entry to a migration file, which is made where there is none.
---@param path string
---@param name string
---@param opts? {type: 'db'|'lua'|'backfill'?}
---@param load fun(path: string): table
---@return string entry as it stands in the file
---Raises invalid_argument: the name is taken, or the file is not one that can be added to; then the
---error has the text of the `entry`.
function new.add(path, name, opts, load)
  opts = options.check(opts, OPTIONS)
  if type(path) ~= 'string' or path == '' then
    errors.raise('invalid_argument', 'the migration file must be a path, got ' .. errors.kind(path))
  elseif type(name) ~= 'string' or name == '' or name:find('%c') then
    errors.raise('invalid_argument', 'a migration has a name, on one line')
  end
  local text = read(path)
  local before = text and names_of(load(path)) or {}
  for _, one in ipairs(before) do
    if one == name then
      errors.raise('invalid_argument', ("there is a migration '%s' already"):format(name))
    end
  end
  local quoted = "'" .. name:gsub("[\\']", '\\%0') .. "'"
  local entry = TEMPLATES[opts.type or 'db']:format(quoted)
  for _, made in ipairs(with_entry(text, entry)) do
    if is_good(path, made, name, before, load) then
      write(path, made)
      return entry
    end
  end
  errors.raise('invalid_argument', ('%s does not end in the list that it returns: write the entry'
    .. ' where it belongs\n%s'):format(path, entry), { entry = entry })
end

return new
