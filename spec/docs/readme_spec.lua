--- The pages that people read: every Lua example runs, what is printed is what they say, every file
--- and anchor that they name is there. CONTRIBUTING.md tells how an example has to be written.
-- Plain pass alone: what the pages show is in the passes of the specs that promise it.

local migrations = require('migrations')
local stores = require('stores')
local support = require('spec.support')

local root = os.getenv('STORES_ROOT') or '.'
local PAGES = { 'README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'docs/api.md', 'docs/bulk.md',
                'docs/cache.md', 'docs/changing.md', 'docs/commands.md', 'docs/cookbook.md',
                'docs/criteria.md', 'docs/design.md', 'docs/hosts.md', 'docs/migrations.md',
                'docs/operations.md', 'docs/performance.md', 'docs/redis.md', 'docs/scaling.md',
                'docs/tables.md',
                'lua/README.md' }
local RUN = { 'README.md', 'docs/api.md', 'docs/bulk.md', 'docs/cache.md', 'docs/criteria.md',
              'docs/hosts.md', 'docs/migrations.md', 'docs/operations.md', 'docs/redis.md',
              'docs/scaling.md', 'docs/tables.md' }

local sh = require('spec.support.shell')
local quoted, read = sh.quoted, sh.read

local succeeded = {} -- what a page asks again and again

local function succeeds(command)
  if succeeded[command] == nil then
    succeeded[command] = os.execute(command .. ' >/dev/null 2>&1') == 0
  end
  return succeeded[command]
end

local function exists(path)
  if path:find('[*{]') then
    return succeeds(('ls -d %s/%s'):format(quoted(root), path:gsub('{.*', '*')))
  end
  return sh.exists(root .. '/' .. path)
end

-- {language, text, line} of each fenced block of a page, and its text without them.
local function blocks_of(page)
  local blocks, prose, open, number = {}, {}, nil, 0
  for line in (read(root .. '/' .. page) .. '\n'):gmatch('(.-)\n') do
    number = number + 1
    local fence = line:match('^```(.*)$')
    if fence and open then
      blocks[#blocks + 1] = { language = open.language, line = open.line, page = page,
                              text = table.concat(open, '\n') .. '\n' }
      open = nil
    elseif fence then
      open = { language = fence, line = number }
    elseif open then
      open[#open + 1] = line
    else
      prose[#prose + 1] = line
    end
  end
  return blocks, table.concat(prose, '\n')
end

-- ---- What an example sees -----------------------------------------------------------------------

-- A page's examples: one program over databases of its own, which the names of the page stand for.
local function new_program()
  local program = { databases = {}, stores = {}, printed = {}, folder = os.tmpname() }
  os.remove(program.folder)
  sh.make(program.folder)

  local REPLACED = { 'host', 'port', 'database', 'user', 'password', 'url', 'migrate_url',
                     'listen_url', 'sslmode', 'sslrootcert' }

  local function database(db)
    local name = db.database or (db.url and db.url:match('/([^/?]*)$')) or 'postgres'
    local fields = {}
    for key, value in pairs(db) do fields[key] = value end
    for _, key in ipairs(REPLACED) do fields[key] = nil end
    program.databases[name] = program.databases[name] or support.db()
    return support.config(program.databases[name].database, fields)
  end

  program.database = database

  local function opened(store)
    program.stores[#program.stores + 1] = store
    return store
  end

  local function new_store(db, redis, opts)
    return opened(stores.Store.new(database(db), redis and support.redis(redis.opts), opts))
  end

  local function new_shards(list, opts)
    local own = {}
    for place, shard in ipairs(list) do
      own[place] = { db = database(shard.db), opts = shard.opts, id = shard.id,
                     redis = shard.redis and support.redis(shard.redis.opts) }
    end
    return opened(stores.Shards.new(own, opts))
  end

  -- What is copied is in the databases of the page's names.
  local function own_side(side)
    local list = {}
    for place, shard in ipairs(side.shards) do
      list[place] = { id = shard.id, db = database(shard.db), redis = support.redis() }
    end
    return { shards = list, opts = side.opts }
  end

  local replaced = {
    stores = setmetatable({
      copy = function(from, to, opts)
        return stores.copy(own_side(from), own_side(to), opts)
      end,
      open = function(path, opts) return new_store({ database = path }, {}, opts) end,
      Store = setmetatable({ new = new_store }, {
        __call = function(_, ...) return new_store(...) end,
      }),
      Shards = setmetatable({ new = new_shards }, {
        __call = function(_, ...) return new_shards(...) end,
      }),
    }, { __index = stores }),
    migrations = setmetatable({
      load = function(file) return migrations.load(program.folder .. '/' .. file) end,
    }, { __index = migrations }),
  }
  for _, name in ipairs({ 'runMigrations', 'plan', 'status', 'verify', 'baseline' }) do
    replaced.migrations[name] = function(list, db, opts)
      local is_config = getmetatable(db) == nil
      if opts and opts.redis then
        local own = {}
        for key, value in pairs(opts) do own[key] = value end
        own.redis, opts = support.redis(opts.redis.opts), own
      end
      return migrations[name](list, is_config and database(db) or db, opts)
    end
  end
  replaced['stores.migrations'] = replaced.migrations

  program.env = setmetatable({
    require = function(name)
      if replaced[name] then return replaced[name] end
      local own = io.open(program.folder .. '/' .. name:gsub('%.', '/') .. '.lua')
      if not own then return require(name) end
      own:close()
      return dofile(program.folder .. '/' .. name:gsub('%.', '/') .. '.lua')
    end,
    print = function(...)
      local words = {}
      for i = 1, select('#', ...) do words[i] = tostring((select(i, ...))) end
      program.printed[#program.printed + 1] = table.concat(words, '\t')
    end,
  }, { __index = _G })
  return program
end

local function close(program)
  for _, store in ipairs(program.stores) do
    if store.shards then
      for _, one in ipairs(store.shards) do support.close(one) end
    else
      support.close(store)
    end
  end
  for _, db in pairs(program.databases) do support.drop(db) end
  sh.remove(program.folder)
end

-- What the block says that it prints, against what it did. `...` stands for anything.
local function check_printed(block, printed)
  local said = {}
  for line in block.text:gmatch('[^\n]+') do said[#said + 1] = line:match('%-%-> ?(.*)$') end
  for i = 1, math.max(#said, #printed) do
    local pattern = said[i] and '^' .. said[i]:gsub('%s+$', ''):gsub('%%', '%%%%')
      :gsub('[%^%$%(%)%[%]%*%+%-%?]', '%%%0'):gsub('%.%.%.', '\1'):gsub('%.', '%%.')
      :gsub('\1', '.*') .. '$'
    assert.is_truthy(pattern and printed[i] and printed[i]:find(pattern),
      ('%s:%d prints %s, not %s'):format(block.page, block.line, tostring(printed[i]),
        tostring(said[i])))
  end
end

-- The first line of a block that is a file, or an excerpt of one: `-- examples/x.lua`.
local function names_file(block)
  return block.text:match('^%-%- ([%w_/.-]+%.lua)\n') or block.text:match('^/%* ([%w_/.-]+) %*/\n')
    or block.text:match('^# ([%w_/.-]+)\n')
end

local function is_excerpt(block)
  local file = names_file(block)
  return file and file:find('^examples/') and file
end

-- An example that chooses its host is a process of its own, in which stores.open gives a store over
-- the servers of the test.
local function run_alone(block, program)
  local file, db = program.folder .. '/alone.lua', program.database({})
  local out = assert(io.open(file, 'w'))
  out:write(([[
    local stores = require('stores')
    function stores.open(_, opts)
      local db = { host = %q, port = %q, database = %q, user = %q }
      return stores.Store.new(db, { path = %q, opts = { timeout = 2 } }, opts)
    end
    ]]):format(db.host, tostring(db.port), db.database, db.user, support.redis().path)
      :gsub('%s+', ' '), block.text)
  out:close()
  local command = ('timeout 60 luajit %s 2>&1; echo "status $?"'):format(quoted(file))
  local pipe = assert(io.popen(command))
  local text, status = pipe:read('*a'):match('^(.*)status (%d+)\n$')
  pipe:close()
  assert.equal('0', status, text)
  local printed = {}
  for line in text:gmatch('[^\n]+') do printed[#printed + 1] = line end
  check_printed(block, printed)
end

local function run(block, program)
  if block.text:find('stores.use(', 1, true) then return run_alone(block, program) end
  local file = names_file(block)
  if file and block.text:find('\nreturn {') then
    assert(os.execute(('mkdir -p "$(dirname %s)"'):format(quoted(program.folder .. '/' .. file)))
      == 0)
    local out = assert(io.open(program.folder .. '/' .. file, 'w'))
    out:write(block.text)
    out:close()
    assert(loadstring(block.text, '=' .. file))
    return
  end
  -- what is local to a page is seen by all of its blocks
  local text = ('\n' .. block.text):gsub('\nlocal function ', '\nfunction ')
    :gsub('\nlocal ([%w_, ]+ =)', '\n%1')
  local chunk = assert(loadstring(('\n'):rep(block.line - 1) .. text, '=' .. block.page))
  setfenv(chunk, program.env)
  program.printed = {}
  chunk()
  check_printed(block, program.printed)
end

-- ---- The pages ----------------------------------------------------------------------------------

for _, page in ipairs(RUN) do
  describe('the examples of ' .. page, function()
    local program

    randomize(false) -- a page is read from above
    local define, declared = stores.define, {}

    setup(function()
      program = new_program()
      function stores.define(name, ...)
        declared[name] = true
        return define(name, ...)
      end
    end)

    -- A table that a page declares would be a declared one on the next page, too.
    teardown(function()
      stores.define = define
      for name in pairs(declared) do define(name, {}) end
      close(program)
    end)

    for place, block in ipairs(blocks_of(page)) do
      if block.language == 'lua' and not is_excerpt(block) then
        it(('run: the one in line %d'):format(block.line), function() run(block, program) end)
      elseif is_excerpt(block) then
        it(('are in the program that they name: the one in line %d'):format(block.line), function()
          local text = block.text:gsub('^[^\n]*\n', '')
          assert.is_truthy(read(root .. '/' .. is_excerpt(block)):find(text, 1, true),
            block.page .. ':' .. block.line .. ' is not in ' .. is_excerpt(block))
        end)
      else
        it(('have a language that is checked: block %d'):format(place), function()
          assert.is_truthy(({ sh = true, text = true, sql = true })[block.language],
            ('%s:%d: an example in %s names no file of examples/'):format(page, block.line,
              block.language))
        end)
      end
    end
  end)
end

-- The anchors of a page's headings, as the forges make them.
local function anchors(page)
  local _, prose = blocks_of(page)
  local found = {}
  for heading in ('\n' .. prose):gmatch('\n#+ ([^\n]+)') do
    found[heading:lower():gsub('[^%w _-]', ''):gsub(' ', '-')] = true
  end
  return found
end

for _, page in ipairs(PAGES) do
  describe(page, function()
    local blocks, prose = blocks_of(page)

    it('leads to pages and headings that are there', function()
      local folder = page:match('^(.*/)') or ''
      for target in prose:gmatch('%]%(([^)%s]+)%)') do
        if not target:find('^https?:') then
          local path, anchor = target:match('^([^#]*)#?(.*)$')
          local file = path == '' and page or (folder .. path):gsub('[^/]+/%.%./', '')
          assert.is_true(exists(file), ('%s leads to %s'):format(page, target))
          if anchor ~= '' then
            assert.is_truthy(anchors(file)[anchor], ('%s leads to %s'):format(page, target))
          end
        end
      end
    end)

    it('names files that are there', function()
      for span in prose:gmatch('`([^`\n]+)`') do
        for path in span:gmatch('%f[%w.][%w_.*{},/-]+') do
          local top = path:match('^([%w.]+)/')
          if top and ({ core = true, bindings = true, lua = true, spec = true, tools = true,
                        docs = true, examples = true, bench = true, ['.ci'] = true })[top] then
            assert.is_true(exists(path), ('%s names %s'):format(page, path))
          end
        end
      end
    end)

    it('shows commands that are there', function()
      for _, block in ipairs(blocks) do
        for line in (block.language == 'sh' and block.text or ''):gmatch('[^\n]+') do
          local command = line:gsub('%s#.*$', ''):gsub('^#.*$', '')
          for part in command:gmatch('[^;&|]+') do
            local words = {}
            for word in part:gmatch('%S+') do
              if #words > 0 or not word:find('=', 1, true) then words[#words + 1] = word end
            end
            if words[1] and words[1] ~= '.' and words[1] ~= 'cd' then
              assert.is_true(succeeds('command -v ' .. words[1]) or exists('tools/' .. words[1]),
                line .. ': ' .. words[1])
            end
            for _, word in ipairs(words) do
              if word:find('^[%w.]+/[%w_/.-]+%.%w+$') and not word:find('^build/') then
                assert.is_true(exists(word), line .. ': ' .. word)
              end
            end
          end
        end
      end
    end)

    it('keeps to 100 columns', function()
      for line in (read(root .. '/' .. page)):gmatch('[^\n]+') do
        local is_wide = #line > 100 and not line:find('^|') and not line:find('^<!%-%-')
        assert.is_false(is_wide, page .. ': ' .. line)
      end
    end)
  end)
end

describe('docs/design.md', function()
  it('answers ten questions by one path each, and by a name that stands there', function()
    local section = assert(read(root .. '/docs/design.md'):match('\n## Where is what\n(.*)$'))
    local count = 0
    for question, path, name in section:gmatch('\n| ([^|]+%?) | `([^`]+)` | `([^`]+)` |') do
      count = count + 1
      assert.is_true(exists(path), question)
      assert.is_truthy(read(root .. '/' .. path):find('%f[%w_]' .. name:gsub('%p', '%%%0')
        .. '%f[^%w_]'), ('%s: %s has no %s'):format(question, path, name))
    end
    assert.equal(10, count)
  end)
end)
