--- The options of one call, a table that is the last argument of a verb: what each may be, and what
--- it means. Which verb takes which is in lua/stores/verbs/list.lua.

local errors = require('stores.errors')
local keywords = require('stores.config.keywords')
local options = require('stores.config.options')

local call = {}

local seconds, integer, one_of = options.seconds, options.integer, options.one_of
local boolean, any = options.boolean, options.any

local HOUR = 3600

---@class stores.CallOption
---@field name string
---@field check stores.Check
---@field text string? what it means; nil: no verb takes it, and who gives it hears so by its name

local function option(name, check, text)
  return { name = name, check = check, text = text }
end

---@type stores.CallOption[] in the order in which pages tell of them
call.options = {
  option('timeout', seconds(HOUR, true), 'the deadline of this call'),
  option('cache', boolean, 'false: neither read from the cache nor publish to it. A write still '
    .. 'tells the cache that its row changes'),
  option('hold', boolean, 'keep rows of the table in the memory of the process from now on, and '
    .. 'read them there: [held.md](held.md); false: this call does not read there'),
  option('shared', boolean, 'one document for all who ask, which nobody may write to: '
    .. '[held.md](held.md#shared-documents)'),
  option('raw', boolean, 'documents as JSON text'),
  option('must', boolean, 'raise `not_found` instead of giving nil or false'),
  option('read', one_of({ 'primary', 'replica' }), "`'replica'`: a replica may answer, once it has "
    .. 'all that this store has committed, and read so before: '
    .. '[scaling.md](scaling.md#replicas)'),
  option('after_token', options.text, 'what a replica answers is not older than this token says: '
    .. '[token](#token)'),
  option('etag', boolean, 'give the etag of the document, too: the new one, of a write'),
  option('if_match', any('stores.Etag'), 'only where the row still has this etag; `conflict` where '
    .. 'it has another one, or is gone'),
  option('if_none_match', any('stores.Etag'), 'the etag of a document that one has: where it is '
    .. 'still that one, `stores.unchanged` is given in its place'),
  option('lock', boolean, 'lock the row until the end of the transaction'),
  option('as', one_of({ 'array', 'map' }), "`'map'`: documents in a table by id, in place of the "
    .. 'array'),
  option('limit', integer(0, 2 ^ 53), 'so many documents at most'),
  option('after', any('stores.Cursor|integer'), 'a cursor that a list gave: only what comes behind '
    .. 'it, in the order of the call. In an order by id an id will do, too. Of bulk verbs: where '
    .. 'to go on, as `progress`, or the `after` of an error, told it'),
  option('before', any('stores.Cursor'), 'the same for what comes before it: of that the last '
    .. 'ones, in the order of the call'),
  option('order', any('stores.Order'), "`'asc'` (by id, the default), `'desc'`, or a list of keys: "
    .. "`{'name'}`, `{'state', '-created'}`, `{{'path', 'to'}, 'desc'}`; documents without a value "
    .. 'there, or with a null, come last'),
  option('where', any('stores.Where'), 'conditions that documents meet: '
    .. '[criteria.md](criteria.md#where)'),
  option('contains', any('table'), 'only documents that contain this one'),
  option('fields', any('stores.Path[]'), 'only these members, and the id'),
  option('explain', boolean, 'nothing is read; the plan is given in place of it: '
    .. '[criteria.md](criteria.md#explain)'),
  option('all', boolean, 'criteria that match every row are meant'),
  option('predicate', boolean, 'the path is a predicate: documents for which it is true'),
  option('batch', integer(1, 100000), 'documents in one batch; 500, of bulk verbs 5000'),
  option('conflict', one_of({ 'fail', 'ignore', 'replace' }), "where a row has the id already: "
    .. "`'fail'`, the default, raises `duplicate`; `'ignore'` leaves the row, also where another "
    .. "unique value is there; `'replace'` gives it the new document"),
  option('progress', options.callback('fun(count: integer, after: integer|string)'), 'called '
    .. 'behind each chunk with how many there were, and what `after` would go on with'),
  option('unique', boolean, 'a unique index is over the path: one row at most has the value'),
  option('pause', seconds(HOUR), 'seconds to wait behind each batch'),
  option('create', boolean, 'where no row has the id, the function is called with nil, and makes '
    .. 'one'),
  option('transaction', boolean, 'false: the statements run as they come, each on its own'),
  option('readonly', boolean, 'nothing is written; the server checks'),
  option('invalidates', options.names, 'the tables that a statement outside of transactions '
    .. 'writes'),
  option('isolation', one_of({ 'read committed', 'repeatable read', 'serializable' }),
    "`'read committed'`, `'repeatable read'`, `'serializable'`"),
  option('retries', integer(0, 1000), 'how often the function runs again after a deadlock or a '
    .. 'serialization failure'),
  option('strict', boolean, 'a verb of the store that the function calls raises `unsupported`'),
  option('combine', boolean, 'false: a transaction of its own, with a lock'),
  option('segment', boolean),
  option('partial', boolean, 'of shards: the answer of those that do answer; behind all else that '
    .. 'the call gives stands an array of the errors of the others'),
  option('concurrency', integer(1, 100000), 'of shards: how many are asked at a time'),
}

---@type stores.OptionSpec
local CALL = { where = 'options', aliases = keywords.call_aliases, keys = {} }
for _, known in ipairs(call.options) do CALL.keys[known.name] = known.check end

local refuse = options.refuse

-- What a call without options gets; shared, so nobody may write into it.
local NONE = setmetatable({}, {
  __newindex = function() error('the options of a call are read only', 2) end,
})

--- The set of options that a verb takes, for call.check.
---@param ... string
---@return table<string, boolean>
function call.allow(...)
  local set = {}
  for i = 1, select('#', ...) do
    local name = select(i, ...)
    if not CALL.keys[name] then error('no such per-call option: ' .. tostring(name), 2) end
    set[name] = true
  end
  return set
end

--- Whether a key is an option of some call: for messages where options stand in the wrong place.
---@param key any
---@return boolean
function call.is_option(key)
  return CALL.keys[key] ~= nil
end

--- Checks the options of one call.
---@param opts table? nil costs nothing
---@param allowed table<string, boolean> what this verb takes, from call.allow
---@return table checked not to be written into
---Raises invalid_option.
function call.check(opts, allowed)
  if opts == nil then return NONE end
  if type(opts) ~= 'table' then
    refuse('options must be a table, got %s', errors.kind(opts))
  end
  for key in pairs(opts) do
    if not allowed[key] and CALL.keys[key] then
      refuse("option '%s' does not belong to this call, which takes %s", key,
        options.list(allowed))
    elseif not allowed[key] then
      refuse("unknown option '%s': %s", options.shown(tostring(key)),
        options.suggestion(key, allowed, CALL.aliases))
    end
  end
  return options.check(opts, CALL)
end

return call
