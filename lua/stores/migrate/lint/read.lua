--- The words of a statement, one after the other, as the lint reads them.

local sql = require('stores.sql.text')

---@class stores.lint.Word
---@field kind 'word'|'name'|'string'|'sign'
---@field text string as it stands there
---@field value string a word in upper case, a name without its quotes, a sign as it is
---@field depth integer how many parentheses are open around it

---@class stores.lint.Reader
---@field words stores.lint.Word[]
---@field at integer
local Reader = {}
Reader.__index = Reader

local BLANK = { space = true, comment = true, line_comment = true }

local function word_of(kind, text)
  if kind == 'word' then return { kind = 'word', text = text, value = text:upper() } end
  if kind == 'quoted' and text:sub(1, 1) == '"' then
    return { kind = 'name', text = text, value = (text:sub(2, -2):gsub('""', '"')) }
  end
  return { kind = kind == 'quoted' and 'string' or 'sign', text = text, value = text }
end

--- Begins to read a statement.
---@param text string
---@return stores.lint.Reader
function Reader.new(text)
  local words, depth = {}, 0
  for kind, from, to in sql.tokens(text) do
    if not BLANK[kind] then
      local word = word_of(kind, text:sub(from, to))
      if word.value == ')' then depth = math.max(0, depth - 1) end
      word.depth = depth
      if word.value == '(' then depth = depth + 1 end
      words[#words + 1] = word
    end
  end
  return setmetatable({ words = words, at = 1 }, Reader)
end

---@return stores.lint.Word?
function Reader:peek()
  return self.words[self.at]
end

local function is(word, value)
  return word ~= nil and word.value == value and (word.kind == 'word' or word.kind == 'sign')
end

--- Whether these words come next.
---@param ... string
---@return boolean
function Reader:next_is(...)
  for place, value in ipairs({ ... }) do
    if not is(self.words[self.at + place - 1], value) then return false end
  end
  return true
end

--- Takes these words where they come next.
---@param ... string
---@return boolean taken
function Reader:take(...)
  if not self:next_is(...) then return false end
  self.at = self.at + select('#', ...)
  return true
end

--- Takes one name, without what may stand before it.
---@return string? name as the catalog has it
function Reader:part()
  local word = self:peek()
  if not word or (word.kind ~= 'word' and word.kind ~= 'name') then return nil end
  self.at = self.at + 1
  return word.kind == 'name' and word.value or word.text:lower()
end

--- Takes a name, with its schema. The schema `public` is left out.
---@return string?
function Reader:name()
  local name = self:part()
  while name and self:take('.') do
    local rest = self:part()
    if not rest then return name end
    name = name == 'public' and rest or name .. '.' .. rest
  end
  return name
end

--- Takes names, with commas between them.
---@return string[]
function Reader:names()
  local names = {}
  repeat
    self:take('ONLY')
    names[#names + 1] = self:name()
    self:take('*')
  until not self:take(',')
  return names
end

--- Whether words stand somewhere in the rest, one behind the other.
---@param ... string
---@return boolean
function Reader:has(...)
  local values = { ... }
  for place = self.at, #self.words do
    local all = true
    for offset, value in ipairs(values) do
      all = all and is(self.words[place + offset - 1], value)
    end
    if all then return true end
  end
  return false
end

--- The rest, cut at the commas that stand in no parentheses.
---@return stores.lint.Reader[]
function Reader:parts()
  local parts, words = {}, {}
  local depth = self.words[self.at] and self.words[self.at].depth or 0
  for place = self.at, #self.words do
    local word = self.words[place]
    if word.value == ',' and word.kind == 'sign' and word.depth == depth then
      parts[#parts + 1] = setmetatable({ words = words, at = 1 }, Reader)
      words = {}
    else
      words[#words + 1] = word
    end
  end
  parts[#parts + 1] = setmetatable({ words = words, at = 1 }, Reader)
  return parts
end

--- The rest as text, for messages and comparisons: in lower case, with single spaces.
---@return string
function Reader:rest()
  local texts = {}
  for place = self.at, #self.words do texts[#texts + 1] = self.words[place].text:lower() end
  return table.concat(texts, ' ')
end

return Reader
