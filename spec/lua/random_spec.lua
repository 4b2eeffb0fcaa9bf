--- Numbers of chance, which the sequence of a program is not taken for.

local core = require('stores.core')
local process = require('spec.support.process')
local random = require('stores.random')
local support = require('spec.support')

describe('chance', function()
  it('is another one in each process', function()
    local drawn = {}
    for _ = 1, 3 do
      local child = process.lua("print(('%.17g'):format(require('stores.core').random()))")
      local number = tonumber(child:line())
      assert.is_true(number >= 0 and number < 1)
      assert.is_nil(drawn[number])
      drawn[number] = true
      child:wait()
    end
  end)

  it('lies between its bounds, and takes all of a few', function()
    local seen = {}
    for _ = 1, 1000 do
      local number = random.between(-1, 2)
      assert.is_true(number >= -1 and number < 2)
      seen[random.one_of(3)] = true
    end
    assert.same({ true, true, true }, seen)
    assert.is_true(core.random() ~= core.random())
  end)

  it('leaves the sequence of the program as it is, where a transaction waits before it runs again',
    function()
      local store, db = support.store()
      math.randomseed(7)
      local wanted = math.random()
      math.randomseed(7)
      local runs = 0
      store:transaction(function(tx)
        runs = runs + 1
        if runs == 1 then
          tx:query("DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END $$")
        end
      end)
      assert.equal(2, runs)
      assert.equal(wanted, math.random())
      support.close(store, db)
    end)
end)
