--- What nobody catches in a callback of luv, which ends the program and shows strings alone: an
--- error of Stores is shown by its text there, and stays a table for who catches it.
-- Plain pass alone: the programs are processes of their own.

local process = require('spec.support.process')
local sh = require('spec.support.shell')
local support = require('spec.support')

local PROGRAM = [[
  local uv = require('luv')
  local stores = require('stores')
  stores.use('luv')
  local store = stores.Store.new({ host = %q, port = %q, database = %q, user = %q })
  store:query('SELECT 1')
  local timer = uv.new_timer()
  timer:start(1, 0, function()
    local ok, err = pcall(store.query, store, 'SELECT 1')
    print(ok, type(err), err.code)
    print(select(2, store.try:find('nowhere', 1)).code)
    xpcall(function() stores.json.decode('{') end, function(caught) print(type(caught)) end)
    %s
  end)
  %s
  print('never')
]]

describe('in a callback of luv', function()
  local db, store

  setup(function() store, db = support.store() end)
  teardown(function() support.close(store, db) end)

  local function shown(body, turn)
    local errors = os.tmpname()
    local child = process.lua(PROGRAM:format(db.host, tostring(db.port), db.database, db.user, body,
      turn or 'uv.run()'), errors)
    local out = child:wait()
    assert.equal('false\ttable\tunsupported\nunsupported\ntable\n', out)
    local text = sh.read(errors)
    os.remove(errors)
    return text
  end

  it('an error that nobody catches is shown by its text', function()
    local use_spawn = 'Uncaught Error: unsupported: inside a callback of luv no call can wait: use '
      .. 'stores.spawn'
    for _, body in ipairs({
      "store:query('SELECT 1')",
      "local function f() store:find('nowhere', '1') end f()",
      "string.gsub('x', 'x', function() store:count('nowhere') end)",
      "stores.wrap(function() store:count('nowhere') end)()",
    }) do
      assert.truthy(shown(body):find(use_spawn, 1, true), body)
    end
    -- raised in C, and while stores.run turns the loop
    assert.matches('Uncaught Error: invalid_document: invalid JSON',
      shown("stores.json.decode('{')"))
    assert.truthy(shown("store:query('SELECT 1')",
      'stores.run(function() stores.sleep(5) end)'):find(use_spawn, 1, true))
  end)
end)
