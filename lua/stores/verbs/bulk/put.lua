--- Writes a chunk of documents in a transaction, and tells what became of each.

local errors = require('stores.errors')
local names = require('stores.tables.names')
local seen = require('stores.verbs.seen')
local sql = require('stores.verbs.bulk.sql')
local wait = require('stores.wait')

local put = {}

---@class stores.bulk.Work
---@field name string
---@field conflict 'fail'|'ignore'|'replace'
---@field definition stores.Definition?
---@field opts table
---@field plain boolean? it is a table whose rows COPY may write; nil: nobody has asked
---@field keeps boolean? each record's result is noted
---@field results string[]?
---@field etags (string|false)[]?
---@field counts table<string, integer>

-- From so many rows on COPY is faster than INSERT (bench/run.sh --bulk).
put.COPY_FROM = 100
--- Runs one statement over many rows.
---@param tx stores.Transaction
---@param kind 'insert'|'update'|'upsert'|'delete'
---@param name string
---@param ids string[] of the rows that it may change
---@param text string
---@param params string[]
---@param timeout number?
---@param data string? what a COPY reads
---@return integer affected
---@return string[]? ids of the rows that it changed
---@return string[]? more what else it gave of each
---@return string[]? etags
function put.run(tx, kind, name, ids, text, params, timeout, data)
  tx:hold_rows(name, ids)
  return wait.slot(tx.hub, tx:start_bulk(kind, name, text, params, timeout, data, data and ids))
end

local function freed(tx, name, fresh, affected, ids, ...)
  tx:free_rows(name, fresh, ids)
  return affected, ids, ...
end

--- The same of a statement that locks the rows that it gives and no others: of those that it meets
--- it changes all, or it inserts what is not there.
---@param tx stores.Transaction
---@param kind 'insert'|'delete'
---@param name string
---@param ids string[]
---@param text string
---@param params string[]
---@param timeout number?
---@return integer affected
---@return string[] ids
---@return string[]? more
---@return string[]? etags
function put.run_all(tx, kind, name, ids, text, params, timeout)
  local fresh = tx:hold_rows(name, ids)
  return freed(tx, name, fresh, wait.slot(tx.hub, tx:start_bulk(kind, name, text, params, timeout)))
end

--- Asks how a table can be written.
---@param tx stores.Transaction
---@param work {name: string, opts: table, plain: boolean?}
function put.ask_kind(tx, work)
  local rows = wait.slot(tx.hub, tx:start_select(work.name, sql.KIND, { names.sql(work.name) },
    work.opts.timeout, false, true))
  work.plain = rows[1] ~= nil and rows[1].plain == true
end

-- Documents that are past their time make room.
local function make_room(tx, work, chunk)
  local alive = seen.condition(tx, work.definition)
  if not alive then return end
  local text, params = sql.delete(chunk.ids, alive, true)
  put.run(tx, 'delete', work.name, chunk.ids, text, params, work.opts.timeout)
end

local function set_of(list)
  local set = {}
  for i = 1, #list do set[list[i].row_id] = 'f' end
  return set
end

-- By id, what became of the row: 't' it is new, 'f' it was there; nil: it was left as it was.
local function write(tx, work, chunk)
  local opts = work.opts
  if work.conflict == 'fail' and #chunk.ids >= put.COPY_FROM and not opts.etag and work.plain then
    put.run(tx, 'insert', work.name, chunk.ids, sql.COPY, {}, opts.timeout,
      sql.data(chunk.ids, chunk.texts))
    return nil
  end
  local before = work.conflict == 'replace' and not work.plain and set_of(wait.slot(tx.hub,
    tx:start_select(work.name, sql.THERE, { sql.array(chunk.ids) }, opts.timeout, false, true)))
  local text, params = sql.insert(work.conflict, '[' .. table.concat(chunk.texts, ',') .. ']',
    work.definition, { etag = opts.etag, plain = work.plain })
  local kind = work.conflict == 'replace' and 'upsert' or 'insert'
  local run = kind == 'insert' and put.run_all or put.run
  local _, ids, fresh, etags = run(tx, kind, work.name, chunk.ids, text, params, opts.timeout)
  local became, tags = {}, {}
  for i = 1, #ids do
    became[ids[i]] = before and (before[ids[i]] or 't') or fresh[i]
    tags[ids[i]] = etags and '"' .. etags[i] .. '"'
  end
  return became, tags
end

-- A row that nobody replaced: a newer program wrote it.
local function check_versions(work, chunk, became)
  local definition = work.definition
  if work.conflict ~= 'replace' or not definition or not definition.version then return end
  for _, id in ipairs(chunk.ids) do
    if not became[id] then
      errors.raise('newer_version', ('the document %s of %s is of a newer version than %d'):format(
        id, definition.name, definition.version), { table = definition.name,
        row = id, known_version = definition.version,
        hint = 'a newer program wrote it, and it can be read here' })
    end
  end
end

local WORDS = { t = 'inserted', f = 'replaced' }

--- Notes what became of the records of a chunk, once that is sure.
---@param work stores.bulk.Work
---@param chunk stores.bulk.Chunk
---@param became table<string, string>?
---@param tags table<string, string>?
function put.note(work, chunk, became, tags)
  local results, counts = work.keeps and work.results, work.counts
  for i = 1, chunk.count do
    local id = chunk.of[i]
    local word = became and (WORDS[became[id]] or 'ignored') or 'inserted'
    if became and word ~= 'ignored' then
      -- of two records with one id the second meets the first
      became[id] = work.conflict == 'replace' and 'f' or nil
    end
    counts[word] = counts[word] + 1
    if results then results[chunk.first + i - 1] = word end
    if results and work.etags then
      work.etags[chunk.first + i - 1] = word ~= 'ignored' and tags[id] or false
    end
  end
end

-- Says which record an error is about, where the server says so.
local function explain(work, chunk, err)
  if work.definition then work.definition:explain(err) end
  if not errors.is(err) then return end
  local id = err.detail and err.detail:match('%(id%)=%((%-?%d+)%)')
  local place = id and chunk.places[id]
  if not place then return end
  err.row = id
  for i = 1, chunk.count do
    if chunk.of[i] == id then err.index = chunk.first + i - 1 end
  end
  if err.code == 'duplicate' then
    err.constraint = nil
    err.message = ('%s has a row with the id %s already'):format(work.name, id)
  end
end

--- Stores a chunk. Gives what put.note wants.
---@param tx stores.Transaction
---@param work stores.bulk.Work
---@param chunk stores.bulk.Chunk
---@return table<string, string>? became
---@return table<string, string>? tags
function put.chunk(tx, work, chunk)
  local is_many = #chunk.ids >= put.COPY_FROM
  if work.plain == nil and (work.conflict == 'replace' or is_many) then
    put.ask_kind(tx, work)
  end
  make_room(tx, work, chunk)
  local ok, became, tags = pcall(write, tx, work, chunk)
  if not ok then
    explain(work, chunk, became)
    errors.throw(became)
  end
  if became then check_versions(work, chunk, became) end
  return became, tags
end

return put
