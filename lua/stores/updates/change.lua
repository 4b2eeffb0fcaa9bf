--- The function of one call of updateObject, run on a document that is its own.

local documents = require('stores.tables.documents')
local json = require('stores.json')
local quick = require('stores.updates.quick')
local seen = require('stores.verbs.seen')
local transaction = require('stores.updates.transaction')
local wait = require('stores.wait')

local change = {}

local function apply(call, document)
  local definition, old = call.definition, nil
  if definition then
    document, old = documents.to_change(definition, document, seen.now(call.store))
  end
  if document == nil and not call.create then return end
  local result = call.fn(document)
  if result == nil then result = document end
  if result == false then
    call.result = false
  elseif result ~= nil then
    local changed = transaction.check_changed(result, call.id)
    if definition then documents.check(definition, changed, old) end
    call.changed = changed
  end
end

local function write_changed(call)
  call.text = json.encode(call.changed)
end

--- Runs it; what it made of the document is in call.changed, nil where nothing is to be stored.
---@param call stores.Update
---@param document table?
---@return boolean waited whether it waited for something meanwhile
function change.run(call, document)
  local waits = wait.count()
  call.changed, call.text, call.result = nil, nil, nil
  call.ok, call.err = pcall(apply, call, document)
  local waited = wait.count() ~= waits
  quick.learn(call, waited)
  return waited
end

--- The same between others, whose documents go by text: call.text has it. What cannot be stored
--- fails alone.
---@param call stores.Update
---@param text string? the document as JSON text; nil: there is no row
---@return boolean waited
function change.run_on_text(call, text)
  local document = text and json.decode(text)
  if document then document.id = call.id end -- whatever is stored
  local waited = change.run(call, document)
  if call.ok and call.changed then
    call.ok, call.err = pcall(write_changed, call)
  end
  call.changed = nil
  return waited
end

return change
