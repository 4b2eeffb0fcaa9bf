--- What a command is given beside its arguments: the store, and how it writes and stops.

local core = require('stores.core')
local json = require('stores.json')
local place = require('stores.command.place')
local progress = require('stores.progress')
local system = require('stores.local.system')
local usage = require('stores.command.usage')

local Context = {}

---@class stores.CommandContext
---@field json boolean a program reads what is written
---@field stdin file*
---@field stdout file*
---@field store fun(): stores.Store|stores.Shards opened at the first call, closed by the frame
---@field stores fun(): stores.Store[] the stores of all shards, or the one
---@field of fun(id: stores.Id): stores.Store the one that an id belongs to
---@field place fun(): stores.CommandPlace where the servers are; nothing is started
---@field config fun(): stores.CommandPlace the same, and private servers run from then on
---@field open fun(db: table, redis: table|false|nil, opts: table?): stores.Store one more
---@field print fun(text: string)
---@field say fun(text: string) on stderr, for people
---@field result fun(value: any, lines: string[]|fun(): string[]?)
---@field table fun(headings: string[], rows: any[][])
---@field progress fun(what: string, total?: integer, from?: integer): stores.Progress
---@field stopping fun(): boolean
---@field usage fun(message: string)
---@field close fun()

-- Work that takes less is over before somebody asks how far it is.
local PATIENCE = 2

local function width(text)
  return #text:gsub('[\128-\191]', '')
end

-- One line of a table; the last column is not filled up.
local function aligned(cells, widths)
  local parts = {}
  for at, cell in ipairs(cells) do
    local room = at < #cells and widths[at] - width(cell) or 0
    parts[at] = cell .. (' '):rep(room)
  end
  return (table.concat(parts, '  '):gsub('%s+$', ''))
end

-- Rows as texts of one line each.
local function texts(rows)
  local list = {}
  for place_of, row in ipairs(rows) do
    local cells = {}
    for at = 1, table.maxn(row) do
      local value = row[at]
      cells[at] = (value == nil or value == json.null) and '' or tostring(value):gsub('%c', ' ')
    end
    list[place_of] = cells
  end
  return list
end

-- Options of a store; those that look after a server do so whichever shard it is.
local function options(opts, any_shard)
  if not any_shard then return opts end
  local given = { any_shard = true }
  for key, value in pairs(opts or {}) do given[key] = value end
  return given
end

local function add_servers(context, command, args)
  local at, store, servers
  local opened = {}

  function context.place()
    at = at or place.of(args)
    return at
  end

  function context.config()
    local found = context.place()
    if found.folder and not servers then
      local private = require('stores.local')
      servers = private.up(found.folder)
      found.db, found.redis = private.config(servers), servers.redis
    end
    return found
  end

  function context.store()
    if store then return store end
    local stores, config = require('stores'), context.config()
    if config.shards then
      store = place.checked(config, stores.Shards.new, config.shards, config.shards_opts)
    else
      store = place.checked(config, stores.Store.new, config.db, config.redis,
        options(config.opts, command.any_shard))
    end
    return store
  end

  function context.stores()
    return context.store().shards or { context.store() }
  end

  function context.of(id)
    local one = context.store()
    return one.shards and one:mod(id) or one
  end

  function context.open(db, redis, opts)
    local one = require('stores').Store.new(db, redis, options(opts, true))
    opened[#opened + 1] = one
    return one
  end

  function context.close()
    for _, one in ipairs(opened) do one:close() end
    if store then store:close() end
    if servers then servers.close() end
    store, servers, opened = nil, nil, {}
  end
end

local function add_writing(context)
  function context.print(text)
    local ok, problem = context.stdout:write(text, '\n')
    if not ok then error('cannot write: ' .. tostring(problem), 0) end
  end

  function context.say(text)
    io.stderr:write('stores: ', text, '\n')
  end

  function context.result(value, lines)
    if context.json then return context.print(json.encode(value)) end
    if type(lines) == 'function' then lines = lines() end
    for _, line in ipairs(lines or {}) do context.print(line) end
  end

  function context.table(headings, rows)
    local list, widths = texts(rows), {}
    table.insert(list, 1, headings)
    for _, cells in ipairs(list) do
      for column, cell in ipairs(cells) do
        widths[column] = math.max(widths[column] or 0, width(cell))
      end
    end
    for _, cells in ipairs(list) do context.print(aligned(cells, widths)) end
  end
end

local function add_work(context, command)
  local catching = false

  function context.progress(what, total, from)
    return progress.new(what, total, { after = PATIENCE, rate = true, from = from })
  end

  function context.stopping()
    if not catching then
      catching = true
      -- a terminal has a line of progress, and ^C behind it
      core.catch_signals((system.is_terminal(2) and '\r\27[K' or '')
        .. ('stores: %s stops at the next safe place; once more ends it at once\n'):format(
        command.name))
    end
    return core.caught_signal() ~= nil
  end
end

---@param command stores.Command
---@param args table
---@return stores.CommandContext
function Context.new(command, args)
  local context = { json = args.json == true, stdin = io.stdin, stdout = io.stdout }
  add_servers(context, command, args)
  add_writing(context)
  add_work(context, command)
  function context.usage(message)
    usage.raise(('%s: %s'):format(command.name, message))
  end
  return context
end

return Context
