--- What stands in Redis, read: the states of rows and of epochs (docs/cache.md, "Keys and states").

local entry = {}

local ENTRY = 32 -- bytes: 16 random ones, then the transaction's id in hexadecimal digits

---@class stores.CacheEntry
---@field state 'absent'|'value'|'none'|'lease'|'intent'|'unknown'
---@field text string? of value: the document
---@field xids string[]? of intent: the transactions that announced it, as decimals
---@field is_clean boolean? of intent: it may be published when it ends

-- Sixteen hexadecimal digits as a decimal, which a double may not hold.
local function decimal(digits)
  local number = 0ULL
  for digit in digits:gmatch('%x') do number = number * 16 + tonumber(digit, 16) end
  return (tostring(number):gsub('ULL$', ''))
end

---@param text string
---@return string[]?
local function xids_of(text)
  local list = {}
  if (#text - 2) % ENTRY ~= 0 then return nil end
  for at = 3, #text, ENTRY do
    local digits = text:sub(at + 16, at + ENTRY - 1)
    if not digits:find('^%x+$') then return nil end
    list[#list + 1] = decimal(digits)
  end
  return list
end

--- Reads what stands under the key of a row.
---@param text string?
---@return stores.CacheEntry
function entry.row(text)
  if text == nil then return { state = 'absent' } end
  local first = text:sub(1, 1)
  if first == 'V' then return { state = 'value', text = text:sub(2) } end
  if text == 'N' then return { state = 'none' } end
  if first == 'L' then return { state = 'lease' } end
  local xids = first == 'T' and xids_of(text)
  if not xids then return { state = 'unknown' } end
  return { state = 'intent', xids = xids, is_clean = text:sub(2, 2) == '=' }
end

---@class stores.CacheEpoch
---@field state 'absent'|'valid'|'turning'|'unknown'
---@field name string?

--- Reads what stands under the key of an epoch.
---@param text string?
---@return stores.CacheEpoch
function entry.epoch(text)
  if text == nil then return { state = 'absent' } end
  local states = { V = 'valid', B = 'turning' }
  local state = states[text:sub(1, 1)]
  if not state or #text < 2 then return { state = 'unknown' } end
  return { state = state, name = text:sub(2) }
end

return entry
