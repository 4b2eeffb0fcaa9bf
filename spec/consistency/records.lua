--- What one process of the harness writes down of its calls: when each began and ended, and which
--- version of its row it saw or made.

local history = require('spec.consistency.history')

local records = {}

local now = history.now

local verbs = {}
for number, name in ipairs(history.VERBS) do verbs[name] = number end

---@class consistency.Records
---@field failures table<string, integer> by the code of the error
---@field defects string[] errors that are none of Stores
---@field begin fun(kind: integer, verb: string, row: integer): table? the record of a call; nil:
--- there is no more room, and all stop
---@field done fun(call: table, version: integer, at?: number)
---@field failed fun(call: table, err: any): any it did nothing, or nobody knows; gives the error
---@field saw fun(call: table, document: table?, at?: number)

--- Those of a process.
---@param map table its history
---@param writer integer its number
---@param writers integer how many processes there are
---@return consistency.Records
function records.of(map, writer, writers)
  local self = { failures = {}, defects = {} }

  function self.begin(kind, verb, row)
    if map.used >= map.capacity then
      map.stop = 1
      return nil
    end
    local call = map.calls[map.used]
    call.row, call.kind, call.verb, call.writer = row, kind, verbs[verb], writer
    call.outcome, call.version, call.ended = history.OPEN, 0, 0
    call.began = now()
    map.used = map.used + 1
    return call
  end

  function self.done(call, version, at)
    call.version, call.ended, call.outcome = version, at or now(), history.DONE
  end

  function self.failed(call, err)
    if type(err) ~= 'table' then
      self.defects[#self.defects + 1] = tostring(err)
      map.stop = 1
      return
    end
    self.failures[err.code] = (self.failures[err.code] or 0) + 1
    call.ended = now()
    if call.kind == history.READ or err.outcome == 'none' then call.outcome = history.NONE end
    return err
  end

  local function version_of(document)
    local sum = 0
    for number = 1, writers do sum = sum + (document['w' .. number] or 0) end
    return sum == document.v and sum or nil
  end

  function self.saw(call, document, at)
    if document == nil then
      self.done(call, history.ABSENT, at)
      return
    end
    local version = version_of(document)
    self.done(call, version or document.v, at)
    if not version then call.outcome = history.TORN end
  end

  return self
end

return records
