--- The verbs, said once: which there are, and of each its arguments, its options, what it gives,
--- what it does in a line, and where it is at home. From here come the options that a verb takes,
--- what stores.on('call') tells of, the head of each section of docs/api.md and the definitions in
--- lua/stores/types/ (both written by tools/docs.lua); spec/lua/verbs_spec.lua holds the rest to
--- it.

local call = require('stores.config.call')
local sets = require('stores.verbs.sets')

local list = {}

---@class stores.Verb
---@field name string
---@field on 'both'|'store'|'tx'|'session' who has it: a store and a transaction, or one of them
---@field takes stores.VerbValue[]
---@field options string? a name in list.options; nil: it takes none
---@field gives stores.VerbValue[]
---@field says string? what it gives, in words
---@field text string what it does, as one sentence
---@field section string? of docs/api.md, where it is not called like the verb
---@field is_internal boolean? no program should call it, and docs/api.md tells nothing of it
---@field untold boolean? stores.on('call') tells of its calls, and not of itself
---@field home string its file in lua/stores/
---@field core string[]? what it starts: methods of the core's engine, or of its transaction
---@field spec string? the file of spec/ that shows it, without _spec.lua

---@class stores.VerbValue
---@field name string
---@field type string in LuaCATS
---@field is_optional boolean? an argument that may be left out

list.options = sets

local function value(name, type, is_optional)
  return { name = name, type = type, is_optional = is_optional }
end

local function maybe(name, type)
  return value(name, type, true)
end

local TABLE, ID = value('table', 'string'), value('id', 'stores.Id')
local KEY, RECORD = value('key', 'stores.Path'), value('record', 'table')
local UPDATER = value('fn', 'fun(document: table?): (table|false|nil)')
local IN_TRANSACTION = value('fn', 'fun(tx: stores.Transaction): (...: any)')
local IN_SESSION = value('fn', 'fun(session: stores.Session): (...: any)')
local SQL, PARAMS = value('sql', 'string'), maybe('params', 'any[]')
local DOCUMENT = { value('document', 'stores.Document|nil') }
local DOCUMENTS = { value('documents', 'stores.Document[]|stores.Plan'),
  value('next', 'string|nil'), value('previous', 'string|nil') }
local PAGE_SAYS = 'an array of documents, in the order of ids, and the cursors of the next and of '
  .. 'the previous page'
local ETAG = value('etag', 'stores.Etag|nil')
local FOUND_DOCUMENT = { value('document', 'stores.Document|nil'), ETAG }
local FOUND = { value('found', 'boolean') }
local ROWS = { value('rows', 'stores.Rows'), value('affected', 'integer') }
local NOTHING = {}
local CHANGE = value('change', 'fun(document: table): (table|false|nil)')
local MANY_SAY = 'what became of each record, the counts of that, and with `etag` their etags'
local RECORDS = value('records', 'table[]|fun(): (table|nil)')
local STORED_MANY = { value('results', "('inserted'|'replaced'|'ignored')[]"),
  value('counts', 'table<string, integer>'), value('etags', '(stores.Etag|false)[]|nil') }

---@type stores.Verb[] in the order of docs/api.md
list.verbs = {}

local function verb(name, row)
  row.name, row.on = name, row.on or 'both'
  table.insert(list.verbs, row)
end

-- ---- Reading -----------------------------------------------------------------------------------

verb('find', {
  on = 'store', takes = { TABLE, ID }, options = 'Read', gives = FOUND_DOCUMENT,
  says = 'the document, or nil where no row has the id; with `etag` or `if_none_match` its etag',
  text = 'Finds a document by its id, in the cache first.',
  home = 'verbs/reads', core = { 'find' }, spec = 'read_verbs',
})
verb('find', {
  on = 'tx', takes = { TABLE, ID }, options = 'ReadInside', gives = FOUND_DOCUMENT,
  says = 'the document, or nil where no row has the id; with `etag` or `if_none_match` its etag',
  text = 'Finds a document by its id, and with `lock` keeps the row locked until the end of the '
    .. 'transaction.',
  section = 'transaction', home = 'verbs/reads', core = { 'find' }, spec = 'locking_reads',
})
verb('exists', {
  takes = { TABLE, ID }, options = 'Exists', gives = { value('is_there', 'boolean') },
  says = 'true or false',
  text = 'Tells whether a row has the id, by the cache first.',
  home = 'verbs/reads', core = { 'find' }, spec = 'read_verbs',
})
verb('findAllByIds', {
  takes = { TABLE, value('ids', 'stores.Id[]') }, options = 'ReadMany',
  gives = { value('documents', 'stores.Document[]|table<string, stores.Document>'),
    value('missing', 'string[]') },
  says = 'the documents that are there, in the order of the ids, and the ids that are not',
  text = 'Finds documents by their ids, in the cache first.',
  home = 'verbs/reads', core = { 'find_many' }, spec = 'read_verbs',
})
verb('findAll', {
  takes = { TABLE }, options = 'List', gives = DOCUMENTS,
  says = PAGE_SAYS,
  text = 'Finds every document of a table.',
  home = 'verbs/reads', core = { 'select' }, spec = 'read_verbs',
})
verb('each', {
  takes = { TABLE }, options = 'Each',
  gives = { value('iterator', 'fun(): (stores.Document|nil)') },
  says = 'an iterator over the documents, in the order of ids',
  text = 'Reads a table batch by batch: `for document in store:each(table)`.',
  home = 'verbs/reads', core = { 'select' }, spec = 'read_verbs', untold = true,
})
verb('findByJSON', {
  takes = { TABLE, maybe('doc', 'table') }, options = 'Criteria', gives = DOCUMENTS,
  says = PAGE_SAYS,
  text = "Finds the documents that contain `doc`, in the sense of PostgreSQL's `@>`.",
  home = 'verbs/reads', core = { 'select' }, spec = 'criteria',
})
verb('findOne', {
  takes = { TABLE, maybe('doc', 'table') }, options = 'One', gives = DOCUMENT,
  says = 'the document, or nil',
  text = 'Finds the first document that contains `doc`.',
  home = 'verbs/reads', core = { 'select' }, spec = 'criteria',
})
verb('count', {
  takes = { TABLE, maybe('doc', 'table') }, options = 'Count',
  gives = { value('count', 'integer') },
  says = 'how many there are',
  text = 'Counts the documents that contain `doc`, or all of them.',
  home = 'verbs/reads', core = { 'select' }, spec = 'read_verbs',
})
verb('findBy', {
  takes = { TABLE, value('path', 'stores.Path'), value('value', 'any') }, options = 'Unique',
  gives = DOCUMENT,
  says = 'the document, or nil where no row has the value',
  text = 'Finds the document that has a value which no two rows share, in the cache first.',
  home = 'verbs/unique', core = { 'find_hinted', 'hint', 'select' }, spec = 'find_by',
})
verb('findByJsonArrayContains', {
  takes = { TABLE, KEY, value('value', 'any') }, options = 'Criteria', gives = DOCUMENTS,
  says = PAGE_SAYS,
  text = 'Finds the documents whose array at `key` contains `value`.',
  home = 'verbs/reads', core = { 'select' }, spec = 'criteria',
})
verb('findByJsonSubContains', {
  takes = { TABLE, KEY, value('doc', 'table') }, options = 'Criteria', gives = DOCUMENTS,
  says = PAGE_SAYS,
  text = 'Finds the documents whose object at `key` contains `doc`.',
  home = 'verbs/reads', core = { 'select' }, spec = 'criteria',
})
verb('findByPath', {
  takes = { TABLE, value('jsonpath', 'string'), maybe('vars', 'table<string, any>') },
  options = 'Path', gives = DOCUMENTS,
  says = PAGE_SAYS,
  text = 'Finds the documents in which an SQL/JSON path finds something (`@?`).',
  home = 'verbs/reads', core = { 'select' }, spec = 'criteria',
})

-- ---- Writing -----------------------------------------------------------------------------------

verb('insert', {
  takes = { TABLE, RECORD }, options = 'Write', gives = { RECORD, ETAG },
  says = 'the same table, its `id` set; with `etag` its etag',
  text = 'Inserts a record, which gets an id where it has none.',
  home = 'verbs/writes', core = { 'write', 'met', 'meet' }, spec = 'write_verbs',
})
verb('update', {
  takes = { TABLE, RECORD }, options = 'Replace', gives = { value('found', 'boolean'), ETAG },
  says = 'true, or false where no row has the id; with `etag` the new one',
  text = 'Replaces the document of the row `record.id`.',
  home = 'verbs/writes', core = { 'write' }, spec = 'write_verbs',
})
verb('upsert', {
  takes = { TABLE, RECORD }, options = 'Upsert',
  gives = { RECORD, value('inserted', 'boolean'), ETAG },
  says = 'the same table, and whether it was inserted; with `etag` the new one',
  text = 'Inserts a record, or replaces the document of the row that has its id.',
  home = 'verbs/writes', core = { 'write' }, spec = 'write_verbs',
})
verb('updateProperty', {
  takes = { TABLE, ID, KEY, value('value', 'any') }, options = 'Change', gives = FOUND_DOCUMENT,
  says = 'the document as it is now, or nil where no row has the id; with `etag` the new one',
  text = 'Sets one value of a document, in one statement on the server.',
  home = 'verbs/writes', core = { 'write' }, spec = 'paths',
})
verb('patch', {
  takes = { TABLE, ID, value('changes', 'stores.Patch') }, options = 'Change',
  gives = FOUND_DOCUMENT,
  says = 'the document as it is now, or nil where no row has the id; with `etag` the new one',
  text = 'Makes several changes to a document, in one statement on the server.',
  home = 'verbs/writes', core = { 'write' }, spec = 'paths',
})
verb('updateObject', {
  on = 'store', takes = { TABLE, ID, UPDATER }, options = 'Update',
  gives = { value('document', 'stores.Document|false|nil') },
  says = 'the document as it is now, nil where no row has the id, or false where `fn` gave false',
  text = "Changes a document by a Lua function, inside a transaction that holds the row's lock.",
  home = 'store', core = { 'tx', 'find', 'replace', 'write' }, spec = 'update_object',
})
verb('updateObject', {
  on = 'tx', takes = { TABLE, ID, UPDATER }, options = 'UpdateInside',
  gives = { value('document', 'stores.Document|false|nil') },
  says = 'the document as it is now, nil where no row has the id, or false where `fn` gave false',
  text = 'Changes a document by a Lua function, and keeps the row locked until the end of the '
    .. 'transaction.',
  section = 'transaction', home = 'updates/transaction', core = { 'find', 'write' },
  spec = 'transaction',
})
verb('delete', {
  takes = { TABLE, ID }, options = 'Delete', gives = FOUND,
  says = 'true, or false where no row had the id',
  text = 'Deletes a row.',
  home = 'verbs/writes', core = { 'write' }, spec = 'write_verbs',
})

verb('patchWhere', {
  takes = { TABLE, maybe('doc', 'table'), value('changes', 'stores.Patch') }, options = 'Many',
  gives = { value('ids', 'string[]|stores.Plan') },
  says = 'the ids of the rows that were changed, in no order',
  text = 'Makes several changes to all documents that contain `doc` and meet `where`, in one '
    .. 'statement.',
  home = 'verbs/many', core = { 'bulk' }, spec = 'many',
})
verb('deleteWhere', {
  takes = { TABLE, maybe('doc', 'table') }, options = 'Many',
  gives = { value('ids', 'string[]|stores.Plan') },
  says = 'the ids of the rows that were deleted, in no order',
  text = 'Deletes all rows whose documents contain `doc` and meet `where`, in one statement.',
  home = 'verbs/many', core = { 'bulk' }, spec = 'many',
})

-- ---- Many at once ------------------------------------------------------------------------------

verb('insertMany', {
  takes = { TABLE, RECORDS }, options = 'InsertMany', gives = STORED_MANY, says = MANY_SAY,
  text = 'Inserts many records, chunk by chunk.',
  home = 'verbs/bulk', core = { 'bulk' }, spec = 'bulk',
})
verb('upsertMany', {
  takes = { TABLE, RECORDS }, options = 'UpsertMany', gives = STORED_MANY, says = MANY_SAY,
  text = 'Inserts many records, or replaces the documents of the rows that have their ids.',
  home = 'verbs/bulk', core = { 'bulk' }, spec = 'bulk',
})
verb('deleteMany', {
  takes = { TABLE, value('ids', 'stores.Id[]') }, options = 'DeleteMany',
  gives = { value('deleted', 'boolean[]'), value('count', 'integer') },
  says = 'whether there was a row for each id, and how many there were',
  text = 'Deletes many rows by their ids.',
  home = 'verbs/bulk', core = { 'bulk' }, spec = 'bulk',
})
verb('updateEach', {
  takes = { TABLE, maybe('doc', 'table'), CHANGE }, options = 'UpdateEach',
  gives = { value('count', 'integer'), value('last', 'string|nil') },
  says = 'how many were changed, and the id of the last row',
  text = 'Changes all documents that contain `doc` and meet `where` by a function, in batches.',
  home = 'verbs/bulk', core = { 'bulk', 'select' }, spec = 'update_each',
})

-- ---- SQL and transactions ----------------------------------------------------------------------

verb('query', {
  on = 'store', takes = { SQL, PARAMS }, options = 'Query', gives = ROWS,
  says = 'an array of rows, and how many were given or changed, which is its `affected`, too',
  text = 'Runs SQL, in a transaction of its own.',
  home = 'store', core = { 'query' }, spec = 'query',
})
verb('query', {
  on = 'tx', takes = { SQL, PARAMS }, options = 'QueryInside', gives = ROWS,
  says = 'an array of rows, and how many were given or changed, which is its `affected`, too',
  text = 'Runs SQL in the transaction.',
  section = 'transaction', home = 'updates/transaction', core = { 'query' }, spec = 'transaction',
})
verb('query', {
  on = 'session', is_internal = true, takes = { SQL, PARAMS }, options = 'QueryInside',
  gives = ROWS, text = 'Runs SQL in the session.',
  home = 'updates/session', core = { 'query' },
})
verb('transaction', {
  on = 'store', takes = { IN_TRANSACTION },
  options = 'Transaction', gives = { value('...', 'any') },
  says = 'what `fn` returns',
  text = 'Runs `fn(tx)` in one transaction: COMMIT when it returns, ROLLBACK when it raises.',
  home = 'store', core = { 'tx', 'commit', 'rollback', 'free' }, spec = 'transaction',
})
verb('transaction', {
  on = 'tx', takes = { IN_TRANSACTION },
  gives = { value('...', 'any') },
  says = 'what `fn` returns',
  text = 'Runs `fn(tx)` in a savepoint: what it wrote is undone where it raises.',
  home = 'updates/transaction', core = { 'savepoint', 'release', 'rollback_to' },
  spec = 'savepoints',
})
verb('in_transaction', {
  on = 'store', is_internal = true, takes = { IN_TRANSACTION,
    maybe('opts', '{timeout?: number, close?: boolean}') },
  gives = { value('...', 'any') },
  text = 'Runs `fn(tx)` in the transaction of a migration, once.',
  home = 'store', core = { 'tx' }, untold = true,
})
verb('session', {
  on = 'store', is_internal = true, takes = { IN_SESSION,
    maybe('opts', '{timeout?: number}') },
  gives = { value('...', 'any') },
  text = 'Runs `fn(session)` with a connection of its own that is in no transaction.',
  home = 'store', core = { 'tx' }, untold = true,
})

-- ---- Beside the documents ----------------------------------------------------------------------

verb('invalidate', {
  on = 'store', takes = { TABLE, maybe('id', 'stores.Id') }, options = 'Timeout', gives = NOTHING,
  text = 'Tells the cache of a write that Stores did not see: of a row, or of a whole table.',
  section = 'invalidate and sweep', home = 'store', core = { 'invalidate' }, spec = 'write_verbs',
})
verb('sweep', {
  on = 'store', takes = {}, options = 'Timeout', gives = { value('unlinked', 'integer') },
  says = 'how many keys that was',
  text = 'Removes from Redis what the cache will never read again.',
  section = 'invalidate and sweep', home = 'store', core = { 'sweep' }, spec = 'sweep',
})
verb('upgrade', {
  on = 'store', takes = { TABLE }, options = 'Upgrade',
  gives = { value('count', 'integer'), value('last', 'string|nil') },
  says = 'how many there were, and the id of the last one',
  text = 'Brings the stored documents of a declared table up to its version, batch by batch.',
  section = 'upgrade and expire',
  home = 'store', core = { 'select' }, spec = 'upcast', untold = true,
})
verb('expire', {
  on = 'store', takes = { TABLE }, options = 'Expire', gives = { value('count', 'integer') },
  says = 'how many there were',
  text = 'Deletes the documents of a declared table that are past their time, batch by batch.',
  section = 'upgrade and expire',
  home = 'store', core = { 'clock', 'write' }, spec = 'expire', untold = true,
})
verb('listen', {
  on = 'store',
  takes = { value('channel', 'string'), value('fn', "fun(payload: string?, gap: 'gap'?)") },
  gives = { value('listener', 'stores.Listener') },
  says = 'a listener, whose `:stop()` ends it',
  text = 'Calls `fn(payload)` for each notification of a channel from now on.',
  section = 'listen and notify', home = 'store', core = { 'listen' }, spec = 'listen',
  untold = true,
})
verb('notify', {
  on = 'store', takes = { value('channel', 'string'), maybe('payload', 'string') },
  gives = NOTHING,
  text = 'Notifies all who listen to a channel.',
  section = 'listen and notify', home = 'store', core = { 'query' }, spec = 'listen',
})
verb('notify', {
  on = 'tx', takes = { value('channel', 'string'), maybe('payload', 'string') },
  gives = NOTHING,
  text = 'Notifies all who listen to a channel, when the transaction is committed.',
  section = 'transaction', home = 'updates/transaction', core = { 'query' }, spec = 'notify',
})
verb('migrate', {
  on = 'store', takes = { value('list', 'stores.MigrationList'),
    maybe('opts', 'stores.MigrationOptions') },
  gives = { value('result', 'stores.MigrationResult') },
  says = 'what ran, and what had run before',
  text = 'Runs what is new in a list of migrations.',
  home = 'store', spec = 'migrations_caches', untold = true,
})
verb('token', {
  on = 'store', takes = {}, options = 'Timeout', gives = { value('token', 'string') },
  says = 'a string', text = 'Tells how far the store has written and read, for `after_token`.',
  home = 'store', core = { 'token', 'query' }, spec = 'replicas', untold = true,
})
verb('generateId', {
  takes = {}, gives = { value('id', 'string') },
  says = 'a string', text = 'Makes a new id, as `insert` does.',
  home = 'store', core = { 'id' }, spec = 'flake', untold = true,
})
verb('stats', {
  on = 'store', takes = {}, gives = { value('figures', 'table<string, any>') },
  says = 'a table of numbers', text = 'Tells what the engine counted, and how it is.',
  home = 'store', core = { 'stats' }, spec = 'observe', untold = true,
})
verb('close', {
  on = 'store', takes = {}, gives = NOTHING,
  text = 'Ends what is pending, and closes every connection.',
  home = 'store', core = { 'close', 'stats' }, spec = 'close', untold = true,
})

-- ---- What comes of it --------------------------------------------------------------------------

--- The options of each verb, as call.check wants them: list.taken.store.find and so on.
---@type table<'store'|'tx'|'session', table<string, table<string, boolean>>>
list.taken = { store = {}, tx = {}, session = {} }

for _, row in ipairs(list.verbs) do
  local set = row.options and call.allow(unpack(list.options[row.options]))
  for _, target in ipairs(row.on == 'both' and { 'store', 'tx' } or { row.on }) do
    list.taken[target][row.name] = set
  end
end

return list
