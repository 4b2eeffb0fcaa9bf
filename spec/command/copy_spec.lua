--- `stores copy --from OLD --to NEW`: all that servers have moves to other ones. What it does is in
--- spec/shards/copy_spec.lua.
-- Plain pass alone: the command is a process of its own, over what copy_spec of shards tries.

local command = require('spec.support.command')
local shell = require('spec.support.shell')
local sides = require('spec.support.sides')
local stores = require('stores')

local SQL = 'CREATE TABLE things (id bigint PRIMARY KEY, value jsonb NOT NULL)'
local folder, old, new

setup(function()
  folder = os.tmpname()
  os.remove(folder)
  assert(os.execute('mkdir ' .. folder) == 0)
end)
before_each(function()
  old, new = sides.open(0, SQL), sides.open(2, SQL)
  for n = 1, 9 do old.target:insert('things', { id = tostring(n), n = n }) end
  shell.write(folder .. '/old.lua', ('return %s, %s, %s'):format(command.source(old.place.db),
    command.source(old.place.redis), command.source(old.place.opts)))
  shell.write(folder .. '/new.lua', 'return ' .. command.source(new.place.shards))
end)
after_each(function()
  old:close()
  new:close()
end)
teardown(function()
  sides.drop()
  os.execute('rm -rf ' .. folder)
end)

local function copy(...)
  return command.run({ 'copy', '--from', folder .. '/old.lua', '--to', folder .. '/new.lua', ... })
end

describe('stores copy --from', function()
  it('copies all tables, tells their hashes, and switches', function()
    local result = copy()
    assert.equal(0, result.code, result.err)
    assert.matches('things: 9 documents, the same on both sides %(%x+%)', result.out)
    assert.matches('switched: 9 documents copied', result.out)
    assert.matches('compares both sides', result.err)
    assert.equal(9, new.target:count('things'))
    result = copy('--json')
    assert.is_true(stores.json.decode(result.out).finished)
  end)

  it('gives up with --abort what it could not end', function()
    old:psql('CREATE TABLE log (at timestamptz)')
    local result = copy()
    assert.equal(1, result.code)
    assert.matches('log %(no id of the type bigint%)', result.err)
    assert.matches('with %-%-abort it gives the copy up', result.err)
    new.target:insert('things', { id = '100' })
    result = copy('things', '--json')
    assert.equal(1, result.code)
    assert.matches('"code":"conflict"', result.err)
    result = copy('--abort')
    assert.equal(0, result.code, result.err)
    assert.matches('given up: the old side takes writes again', result.out)
    old.target:insert('things', { id = '10' })
    new.target:delete('things', '100')
    assert.equal(0, copy('things').code)
    assert.equal(10, new.target:count('things'))
  end)

  it('says how it is called', function()
    local path = folder .. '/old.lua'
    for _, words in ipairs({
      { 'copy', '--from', path },
      { 'copy', '--from', path, '--to', path, '--as', 'others' },
      { 'copy', '--from', path, '--to', path, '--where', '[["n", ">", 1]]' },
      { 'copy', '--from', path, '--to', 'postgresql://a@b/c' },
      { 'copy', '--from', 'postgresql://a@b/c', '--to', path },
      { 'copy', '--from', folder .. '/nothing.lua', '--to', path },
      { 'copy', 'things', '--abort', '--to', path },
      { 'copy', 'things', '{}', 'more', '--to', path },
    }) do
      local result = command.run(words)
      assert.equal(2, result.code, table.concat(words, ' ') .. result.err)
    end
  end)
end)
