--- The definitions that editors read (LuaCATS), as text: of the verbs from
--- lua/stores/verbs/list.lua, of their options from lua/stores/config/call.lua, of the tables of
--- Store.new from lua/stores/config/tables.lua. tools/docs.lua writes them into lua/stores/types/.
local call = require('stores.config.call')
local config = require('stores.config.tables')
local list = require('stores.verbs.list')
local options = require('stores.config.options')
local scatter = require('stores.shards.scatter')
local sorted = require('stores.sorted')
local told = require('tools.told')

local types = {}

local HEAD = [[
---@meta
-- %s
-- Written by tools/docs.lua: change what it is made from.

]]

-- A line for editors: Markdown, on one line.
local function remark(text)
  return text and text ~= '' and ' ' .. text:gsub('\n', ' ') or ''
end

local function class(name, lines)
  return ('---@class %s\n%s\n'):format(name, table.concat(lines, '\n'))
end

-- ---- Options -----------------------------------------------------------------------------------

local function call_options()
  local texts, known = {}, {}
  for _, option in ipairs(call.options) do known[option.name] = option end
  for _, set in ipairs(sorted(list.options)) do
    local lines = {}
    for place, name in ipairs(list.options[set]) do
      lines[place] = ('---@field %s? %s%s'):format(name, options.type_of(known[name].check),
        remark(known[name].text))
    end
    texts[#texts + 1] = class('stores.' .. set .. 'Options', lines)
  end
  return texts
end

-- Where the page tells of the keys of each table.
local TOLD = { ['stores.DbConfig'] = 'db', ['stores.ReplicaConfig'] = 'db',
  ['stores.RedisConfig'] = 'redis', ['stores.RedisOptions'] = 'redis.opts',
  ['stores.TlsOptions'] = 'redis.opts.tls', ['stores.StoreOptions'] = 'opts' }

local function store_tables(page)
  local texts, all = {}, told.keys(page)
  for _, name in ipairs(sorted(config.classes)) do
    local keys, lines, texts_of = config.classes[name].keys, {}, all[TOLD[name]] or {}
    for place, key in ipairs(sorted(keys)) do
      local text = texts_of[key]
      -- what a replica does not say is that of db
      if name == 'stores.ReplicaConfig' and text then text = text:gsub(';? ?left out: .*', '') end
      lines[place] = ('---@field %s? %s%s'):format(key, options.type_of(keys[key]), remark(text))
    end
    texts[#texts + 1] = class(name, lines)
  end
  return texts
end

-- ---- Verbs -------------------------------------------------------------------------------------

-- The type of a verb; also: of store.try, which gives its values, or what else there may be.
local function signature(self, row, also)
  local takes, gives = { 'self: ' .. self }, { also and 'ok: boolean' }
  for _, argument in ipairs(row.takes) do
    takes[#takes + 1] = ('%s%s: %s'):format(argument.name, argument.is_optional and '?' or '',
      argument.type)
  end
  if row.options then takes[#takes + 1] = ('opts?: stores.%sOptions'):format(row.options) end
  for place, value in ipairs(row.gives) do
    local kind = value.type:gsub('^fun%(.*$', '(%0)')
    if also then kind = kind .. (place == 1 and also or '|nil') end
    gives[#gives + 1] = value.name .. ': ' .. kind
  end
  if also and #row.gives == 0 then gives[#gives + 1] = 'err: nil' .. also end
  local given = gives[1] and (': (%s)'):format(table.concat(gives, ', ')) or ''
  return ('fun(%s)%s'):format(table.concat(takes, ', '), given)
end

local function fields(name, targets, lines, also)
  for _, row in ipairs(list.verbs) do
    if targets[row.on] and not (row.is_internal and also) then
      lines[#lines + 1] = ('--- %s%s%s'):format(row.is_internal and 'Not for programs. ' or '',
        row.text, row.says and ' Gives ' .. row.says .. '.' or '')
      lines[#lines + 1] = ('---@field %s %s'):format(row.name, signature(name, row, also))
    end
  end
  return lines
end

local function verbs_of(name, parent, targets, lines)
  return class(name .. (parent and ' : ' .. parent or ''), fields(name, targets, lines))
end

-- ---- Of shards ---------------------------------------------------------------------------------

local ID = { name = 'id', type = 'stores.Id' }
local TO_ALL, TO_WHOLE = 'stores.ScatterOptions', 'stores.SideOptions'

-- A verb of shards: one that is not of a row takes what is for all of them, too, and says which
-- failed, where there is a part of its answer.
local function of_shards(row)
  local takes, second = { unpack(row.takes) }, row.takes[2] and row.takes[2].name
  if row.name == 'transaction' then table.insert(takes, 1, ID) end
  local copy = { name = row.name, takes = takes, gives = { unpack(row.gives) },
    options = row.options }
  local is_of_row = second == 'id' or second == 'record' or row.name == 'transaction'
  local is_whole = scatter.whole[row.name]
  if is_of_row or not row.options then return copy end
  copy.options = nil
  takes[#takes + 1] = { name = 'opts', is_optional = row.name ~= 'query',
    type = ('stores.%sOptions|%s'):format(row.options, is_whole and TO_WHOLE or TO_ALL) }
  if #row.gives > 0 and not is_whole then
    table.insert(copy.gives, { name = 'failed', type = 'stores.Error[]|nil' })
  end
  return copy
end

local function verbs_of_shards()
  local lines = { '---@overload fun(list: stores.ShardConfig[], opts?: stores.ShardsOptions): '
    .. 'stores.Shards' }
  for _, row in ipairs(list.verbs) do
    if (row.on == 'both' or row.on == 'store') and not row.is_internal then
      lines[#lines + 1] = '--- ' .. row.text
      lines[#lines + 1] = ('---@field %s %s'):format(row.name, signature('stores.Shards',
        of_shards(row)))
    end
  end
  return class('stores.Shards', lines)
end

--- The files, by their paths.
---@param page string docs/api.md
---@return table<string, string>
function types.files(page)
  local made = {}
  local function add(name, what, texts)
    made['lua/stores/types/' .. name] = HEAD:format(what) .. table.concat(texts, '\n')
  end
  add('options.lua', 'The options of calls.', call_options())
  add('config.lua', 'The tables of Store.new.', store_tables(page))
  add('verbs.lua', 'The verbs of a store, of a transaction, and of a session.', {
    verbs_of('stores.Verbs', nil, { both = true }, {}),
    verbs_of('stores.Store', 'stores.Verbs', { store = true }, {
      '---@overload fun(db: stores.DbConfig, redis?: stores.RedisConfig|false, '
        .. 'opts?: stores.StoreOptions): stores.Store',
      '--- The same verbs, giving true and their values, or false and the error.',
      '---@field try stores.Try' }),
    verbs_of('stores.Transaction', 'stores.Verbs', { tx = true }, {}),
    verbs_of('stores.Session', nil, { session = true }, {}),
  })
  add('try.lua', 'The verbs that raise nothing: true and their values, or false and the error.',
    { class('stores.Try', fields('stores.Try', { both = true, store = true }, {},
      '|stores.Error')) })
  add('shards.lua', 'The verbs of shards.', { verbs_of_shards() })
  return made
end

return types
