--- Documents of held rows that were decoded once: those that all who ask share, and those of which
--- each caller gets a copy. They are in the slots of their rows, in arrays; the core tells by the
--- mark of a row whether it still is what was decoded. So one is found by one look into the core,
--- which LuaJIT compiles, and one into an array.

local ffi = require('ffi')
local frozen = require('stores.frozen')
local new_table = require('table.new')
local seen = require('stores.verbs.seen')
local times = require('stores.tables.times')

local has_clone, clone = pcall(require, 'table.clone') -- where LuaJIT is OpenResty's

local decoded = {}

-- So many times as many bytes as rows may have, of texts and what each costs besides. Where those
-- that are shared are too many all go; of those that are copied no more are kept.
local SHARED_MOST, COPIED_MOST, COST = 2, 1 / 4, 256
local SHARED, COPIED = 0, 1 -- which of the marks of a row
local ROOM = 64 -- slots, at first
local PLANS_MOST = 1000 -- that are known again

---@class stores.Decoded of a table as one name means it: what is declared of others may differ
---@field mark integer no other one has it, or had it
---@field documents table[] by slots, with room for so many of them
---@field room integer
---@field bytes table<integer, integer>
---@field ends table<integer, number> of shared documents that are past it at some time
---@field plans table<integer, table> of copied documents, which take most of them
---@field known_plans table<string, table>
---@field plan_count integer
---@field marked integer how many rows were

---@class stores.DecodedKind
---@field which integer
---@field most number of bytes
---@field bytes number
---@field by_name table<string, stores.Decoded>
---@field owners table<integer, stores.Decoded> by slots: whose document is kept there
---@field patience integer how often there is to be no room before it is made again

local function kind(which, most)
  return { which = which, most = most, bytes = 0, by_name = {}, owners = {}, patience = 0 }
end

--- A store has none yet.
---@param store stores.Store
function decoded.begin(store)
  store.shared_documents = kind(SHARED, SHARED_MOST * store.hold_bytes)
  store.copied_documents = kind(COPIED, COPIED_MOST * store.hold_bytes)
  store.decoded_marks = store.decoded_marks or 0
  store.slot_of = ffi.cast('int (*)(void *, const char *, const char *, int, unsigned)',
    store.engine:held_slot_of())
  store.engine_at = ffi.cast('void *', store.engine)
end

local function of_name(self, of, name)
  local list = of.by_name[name]
  if list then return list end
  self.decoded_marks = self.decoded_marks + 1
  list = { mark = self.decoded_marks, documents = new_table(ROOM, 0), room = ROOM, bytes = {},
    ends = {}, plans = new_table(ROOM, 0), known_plans = {}, plan_count = 0, marked = 0 }
  of.by_name[name] = list
  return list
end

local function larger(list, from, to)
  local made = new_table(to, 0)
  for i = 1, from do made[i] = list[i] end
  return made
end

-- Filled in any order an array would be a table of keys for a while, which is slower.
local function make_room(list, slot)
  local room = list.room
  if slot <= room then return end
  repeat room = room * 2 until slot <= room
  list.documents = larger(list.documents, list.room, room)
  list.plans = larger(list.plans, list.room, room)
  list.room = room
end

-- What is kept in a slot is of a row that was there before, perhaps of another table, or is asked
-- for by another name now: nobody finds it again.
local function drop(of, slot)
  local list = of.owners[slot]
  if not list then return end
  of.bytes, of.owners[slot] = of.bytes - list.bytes[slot], nil
  list.documents[slot], list.plans[slot], list.bytes[slot], list.ends[slot] = nil, nil, nil, nil
end

local function keep(of, list, slot, bytes, document, plan, ends)
  make_room(list, slot)
  drop(of, slot) -- for what was called meanwhile may have kept one
  of.bytes, of.owners[slot] = of.bytes + bytes, list
  list.documents[slot], list.plans[slot], list.bytes[slot] = document, plan, bytes
  if ends then list.ends[slot] = ends end
end

-- Those whose rows are gone are looked for as often as that costs no more than decoding does.
local function has_room(self, of, bytes)
  if of.bytes + bytes <= of.most then return true end
  of.patience = of.patience - 1
  if of.patience > 0 or self.closed then return false end
  local gone = self.engine:held_free_slots()
  for i = 1, #gone do drop(of, gone[i]) end
  of.patience = #gone
  return of.bytes + bytes <= of.most
end

-- Decodes the row by fn(self, name, document, list), which gives what the caller gets, what is to
-- be kept, its plan, and when it is past its time. What upgrades a document may call the store, and
-- the row be another one after that: then it is not kept.
local function decode(self, of, name, id, fn)
  local list = of_name(self, of, name)
  local slot, bytes = self.engine:held_mark(name, id, of.which, list.mark)
  if not slot then return slot end
  local marked = list.marked + 1
  list.marked = marked
  drop(of, slot)
  local document = self.engine:held(name, id, false)
  if type(document) ~= 'table' then return document end
  local given, kept, plan, ends = fn(self, name, document, list)
  bytes = bytes + COST
  if list.marked ~= marked or of.by_name[name] ~= list or kept == nil then return given end
  if has_room(self, of, bytes) then
    keep(of, list, slot, bytes, kept, plan, ends)
  elseif of.which == SHARED then
    of.by_name, of.owners, of.bytes = {}, {}, 0
  end
  return given
end

-- ---- One for all --------------------------------------------------------------------------------

local function to_share(self, name, document)
  local definition = self.tables[name]
  if definition then document = seen.one(self, definition, document) end
  if document == nil then return nil end
  local ends = definition and definition.expires and times.at(document, definition.expires)
  document = frozen.freeze(document)
  return document, document, nil, ends or nil
end

--- One document for all who ask, read only; nil: there is no such row; false: that is not known.
--- What is past its time is seen with each call.
---@param self stores.Store
---@param name string
---@param id string
---@return table|false|nil
function decoded.shared(self, name, id)
  local of = self.shared_documents
  local list = of.by_name[name]
  if not list then return decode(self, of, name, id, to_share) end
  local slot = self.slot_of(self.engine_at, name, id, SHARED, list.mark)
  local document = list.documents[slot]
  if not document then return decode(self, of, name, id, to_share) end
  local ends = list.ends[slot]
  if ends and times.is_over(ends, seen.now(self)) then return nil end
  return document
end

-- ---- One for each -------------------------------------------------------------------------------

-- How a table is copied: {number, its metatable or false, a key of a table in it, how that one is,
-- key, ..}. Most documents of a table have the same.
local function plan_of(list, document)
  local meta = getmetatable(document) or false
  local plan, sign = { 0, meta }, { tostring(meta) }
  for key, value in next, document do
    if type(value) == 'table' then
      local inside = plan_of(list, value)
      plan[#plan + 1], plan[#plan + 2] = key, inside
      sign[#sign + 1] = ('%s %d %s %d'):format(type(key), #tostring(key), key, inside[1])
    end
  end
  sign = table.concat(sign, ' ')
  local known = list.known_plans[sign]
  if known then return known end
  list.plan_count = list.plan_count + 1
  if list.plan_count % PLANS_MOST == 0 then list.known_plans = {} end
  plan[1] = list.plan_count
  list.known_plans[sign] = plan
  return plan
end

local function copy(document, plan)
  local made, meta = clone(document), plan[2]
  if meta then setmetatable(made, meta) end
  for i = 3, #plan, 2 do
    local key = plan[i]
    made[key] = copy(document[key], plan[i + 1])
  end
  return made
end

local function to_copy(_, _, document, list)
  local plan = plan_of(list, document)
  return copy(document, plan), document, plan
end

--- A document of the caller's own, as it is stored; nil and false as above.
---@param self stores.Store
---@param name string
---@param id string
---@return table|false|nil
function decoded.own(self, name, id)
  if not has_clone then return self.engine:held(name, id, false) end
  local of = self.copied_documents
  local list = of.by_name[name]
  if not list then return decode(self, of, name, id, to_copy) end
  local slot = self.slot_of(self.engine_at, name, id, COPIED, list.mark)
  local document = list.documents[slot]
  if not document then return decode(self, of, name, id, to_copy) end
  return copy(document, list.plans[slot])
end

return decoded
