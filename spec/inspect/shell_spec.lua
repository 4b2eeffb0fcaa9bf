--- stores shell: lines of Lua with a store ready, from an option, a pipe and a terminal.
-- Plain pass alone: programs of their own, whose calls other specs take through the other passes.

local command = require('spec.support.command')
local complete = require('stores.inspect.complete')
local json = require('stores.json')
local session = require('stores.inspect.session')
local shell = require('spec.support.shell')
local show = require('stores.inspect.show')
local support = require('spec.support')

local store, db, history

setup(function()
  store, db = support.store({ 'users', 'orders' })
  for id = 1, 3 do
    store:insert('users', { id = tostring(id), name = 'Ada ' .. id, tags = json.array({ 'a' }) })
  end
  history = os.tmpname()
end)

teardown(function()
  os.remove(history)
  support.close(store, db)
end)

local function run(words, opts)
  opts = opts or {}
  opts.db, opts.env = opts.db or db, { STORES_HISTORY = history }
  return command.run({ 'shell', unpack(words) }, opts)
end

describe('stores shell', function()
  it('runs what it is given, and prints what comes of it', function()
    local result = run({ '--execute', "store:find('users', '1')" })
    assert.same({ code = 0, err = '', out = "{ id = '1', name = 'Ada 1', tags = ['a'] }\n" },
      result)
    result = run({ '-e', "(store:findAll('users'))" })
    assert.equal("id  name   tags\n1   Ada 1  ['a']\n2   Ada 2  ['a']\n3   Ada 3  ['a']\n"
      .. '(3 rows)\n', result.out)
    result = run({ '-e', "store:count('users')", '--json' })
    assert.equal('3\n', result.out)
    result = run({ '-e', "store:find('users', '9')" })
    assert.equal('nil\n', result.out)
  end)

  it('tells of what fails, exit code 1, and of what is not complete', function()
    local result = run({ '-e', "store:find('nowhere', '1')" })
    assert.equal(1, result.code)
    assert.matches('^error: table_not_found: there is no table', result.err)
    result = run({ '-e', 'x =' })
    assert.equal(2, result.code)
    result = run({ '-e', 'x = = 1' })
    assert.equal(1, result.code)
    assert.matches('^error: shell:1: unexpected symbol', result.err)
  end)

  it('runs lines of a pipe, chunks of several lines among them, until one fails', function()
    local result = run({}, { stdin = table.concat({
      "user = store:find('users', '2')", 'for n = 1, 2 do', '  print(n, user.name)', 'end', '',
      "= user.id", "store:update('users', { id = '2', name = 'Bob' })", "error('stop')",
      "print('never')" }, '\n') })
    assert.equal(1, result.code)
    assert.equal('1\tAda 2\n2\tAda 2\n2\ntrue\n', result.out:gsub("'", ''))
    assert.matches('stop', result.err)
    assert.equal('Bob', store:find('users', '2').name)
    store:update('users', { id = '2', name = 'Ada 2', tags = json.array({ 'a' }) })
  end)

  it('completes verbs and tables on a terminal, and keeps its lines to itself', function()
    os.remove(history)
    local result = run({}, { terminal = '/dev/null',
      stdin = "store:cou\t('us\t')\nprint('a' .. 'b')\n\4" })
    assert.equal(0, result.code, result.out)
    assert.matches("store:count%('users'%)[^\n]*\n.-3\r?\n", result.out)
    assert.matches('\n[^\n]*ab\r?\n', result.out)
    assert.matches("store:count%('users'%)\n", shell.read(history))
    assert.equal('600', (shell.output('stat -c %a ' .. history):gsub('%s', '')))
  end)

  it('reads plain lines where it is told to', function()
    local result = run({ '--plain' }, { terminal = '/dev/null',
      stdin = "store:count('users')\n\4" })
    assert.equal(0, result.code, result.out)
    assert.matches('\nstores> 3\r?\n', result.out)
  end)

  it('has the shards of a configuration', function()
    local file = os.tmpname()
    shell.write(file, ('return {{ id = 0, db = (function() %s end)() }}'):format(
      command.config(db, false)))
    local result = command.run({ 'shell', '--config', file, '-e',
      "shards:mod('1'):find('users', '1').name" })
    os.remove(file)
    assert.equal("'Ada 1'\n", result.out, result.err)
  end)
end)

describe('a line of the shell', function()
  it('goes on where it is not complete, and can be dropped', function()
    local lines = session.new({})
    assert.equal('more', (lines:take('x = {')))
    assert.equal('done', (lines:take('1 }')))
    assert.equal('more', (lines:take('if x then')))
    lines:drop()
    local state, results = lines:take('x[1], nil')
    assert.same({ 'done', 2, 1 }, { state, results.n, results[1] })
    assert.equal('failed', (lines:take('end')))
    state, results = lines:take('   ')
    assert.same({ 'done', 0 }, { state, results.n })
    assert.is_nil(rawget(_G, 'x'))
  end)
end)

describe('completion', function()
  local function words(word)
    local env = { store = store, stores = { flake = {}, find = 1 } }
    return table.concat(complete.new(env, function() return { 'users', 'orders' } end)(word), ' ')
  end

  it('knows verbs, members, tables and names', function()
    assert.equal('store:findBy store:findByJSON store:findByJsonArrayContains '
      .. 'store:findByJsonSubContains store:findByPath', words('store:findBy'))
    assert.equal("'users", words("'us"))
    assert.equal('"orders "users', words('"'))
    assert.equal('stores.find stores.flake', words('stores.f'))
    assert.equal('string.format', words('string.form'))
    assert.equal('store stores', words('sto'))
    assert.equal('while', words('whi'))
    assert.equal('', words('nothing.at.all'))
    assert.equal('', words('store:check_usable'))
    assert.equal('users', complete.table_name('public.users'))
    assert.equal('app.users', complete.table_name('app.users'))
  end)
end)

describe('values', function()
  local function shown(value) return table.concat(show.lines(value), '\n') end

  it('are printed so that they can be read', function()
    assert.equal('nil', shown(nil))
    assert.equal("'a\\n\\'b\\\\'", shown("a\n'b\\"))
    assert.equal('null', shown(json.null))
    assert.equal('[]', shown(json.array()))
    assert.equal('{}', shown({}))
    assert.equal('12345678901234567890', shown(json.number('12345678901234567890')))
    assert.equal("{ [3] = 'x', ['a b'] = 1, ['end'] = 2 }", shown({ [3] = 'x', ['a b'] = 1,
      ['end'] = 2 }))
    local circle = {}
    circle.self = circle
    assert.equal('{ self = ... }', shown(circle))
  end)

  it('that are long have a line for each member, and rows have columns', function()
    local long = { id = '1', text = ('x'):rep(60), list = { 1, 2 } }
    assert.equal(("{\n  id = '1',\n  list = [1, 2],\n  text = '%s',\n}"):format(('x'):rep(60)),
      shown(long))
    assert.equal('id  n\n1   1\n2\n(2 rows)', shown({ { id = '1', n = 1 }, { id = '2' } }))
    assert.matches('^id  list    text\n1   %[1, 2%]  x+%.%.%.\n', shown({ long, long }))
    local wide = { a = long.text, b = long.text, c = long.text }
    assert.matches('^%[\n  {\n    a = ', shown({ wide, wide }))
    local euro = ('\226\130\172'):rep(30)
    assert.is_nil(shown({ { a = euro }, { a = euro } }):find('\226%.') )
  end)
end)
