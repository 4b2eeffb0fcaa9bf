--- Who requires whom in lua/: only what stands below, as lua/README.md has it, and nobody in a
--- circle.
-- Plain pass alone: it reads files.

local root = os.getenv('STORES_ROOT') or '.'

-- store:migrate needs the migrations, which need stores; and shards:migrate.
local EXCEPTIONS = { to = 'stores.migrations',
  from = { 'stores.store', 'stores.shards', 'stores.shards.routes' } }

local function read(path)
  local file = assert(io.open(root .. '/' .. path))
  local text = file:read('*a')
  file:close()
  return text
end

-- The lines of the page's list: name -> its place from the top.
local function order()
  local places, place = {}, 0
  for line in read('lua/README.md'):match('```text\n(.-)```'):gmatch('[^\n]+') do
    local names = line:match('^([%w, ]-)  ')
    if names and names ~= '' then
      place = place + 1
      for name in names:gmatch('%w+') do places[name] = place end
    end
  end
  return places
end

-- The modules that a file requires. A name that is put together, of a host, is none.
local function required_by(path)
  local required = {}
  for line in read(path):gmatch('[^\n]+') do
    local code = line:gsub('%-%-.*$', '')
    for name in code:gmatch("require%s*%(?%s*['\"](stores[%w_.]*)['\"]") do
      if name ~= 'stores.core' and not name:find('%.$') then required[#required + 1] = name end
    end
  end
  return required
end

-- Module -> {modules that it requires}.
local function modules()
  local pipe = assert(io.popen("cd '" .. root .. "' && find lua/stores -name '*.lua'"))
  local found = {}
  for path in pipe:lines() do
    local name = path:match('^lua/(.*)%.lua$'):gsub('/', '.'):gsub('%.init$', '')
    found[name] = required_by(path)
  end
  pipe:close()
  found['stores.migrations'] = required_by('migrations.lua')
  for _, from in ipairs(EXCEPTIONS.from) do
    for place, name in ipairs(found[from]) do
      if name == EXCEPTIONS.to then table.remove(found[from], place) end
    end
  end
  return found
end

local function line_of(name)
  return name == 'stores' and 'init' or name:match('^stores%.(%w+)')
end

describe('the folders of lua/', function()
  local found, places = modules(), order()

  it('are all in the list of lua/README.md', function()
    local seen = {}
    for name in pairs(found) do
      assert.is_truthy(places[line_of(name)], name)
      seen[line_of(name)] = true
    end
    for name in pairs(places) do assert.is_true(seen[name], name .. ' is not there') end
  end)

  it('require only those that stand below them', function()
    for name, required in pairs(found) do
      for _, other in ipairs(required) do
        assert.is_truthy(found[other], name .. ' requires ' .. other)
        local from, to = line_of(name), line_of(other)
        assert.is_true(from == to or places[from] < places[to], name .. ' requires ' .. other)
      end
    end
  end)

  it('have no circle of files', function()
    local state = {}
    local function visit(name, path)
      if state[name] == 'done' then return end
      assert.is_nil(state[name], path .. ' > ' .. name)
      state[name] = 'open'
      for _, other in ipairs(found[name]) do visit(other, path .. ' > ' .. name) end
      state[name] = 'done'
    end
    for name in pairs(found) do visit(name, '') end
  end)
end)
