--- The specs of the API of a store once more, over three shards: the same program runs on one
--- server and on several.
-- Plain pass alone: it runs other files, each of which has these passes for itself.

local support = require('spec.support')

-- A child of this run has the shards in its environment.
if os.getenv('STORES_TEST_SHARDS') then return end

-- Each with what it does that is about one server: SQL that makes rows without saying their ids one
-- by one, a second store over the same database, a plan's statement, a transaction of its own.
local SPECS = {
  { 'lua/api_spec', 'no id of their own in the document', 'draws another id', 'counts all, or',
    'does not draw again', '^a store ' },
  { 'lua/paths_spec', 'whose value is no object' },
  { 'read/criteria_spec' },
  { 'read/order_spec', 'exactly where a page has one behind it' },
  { 'read/where_spec' },
  { 'read/etag_spec', 'in a transaction', 'given by the write' },
}

describe('three shards in place of a store, #slow', function()
  for _, spec in ipairs(SPECS) do
    it('pass ' .. spec[1], function()
      local path = ('spec/%s.lua'):format(spec[1])
      local left_out = {}
      for place = 2, #spec do
        left_out[place - 1] = ("--filter-out='%s'"):format(spec[place])
      end
      local at = support.config()
      local pipe = assert(io.popen(("STORES_TEST_PGHOST='%s' STORES_TEST_REDIS_SOCKET='%s' "
        .. 'STORES_TEST_SHARDS=3 luajit $(command -v busted) -o TAP --exclude-tags=slow %s %s 2>&1')
        :format(at.host, support.redis().path, table.concat(left_out, ' '), path)))
      local text = pipe:read('*a')
      pipe:close()
      local passed = select(2, text:gsub('\nok %d+', ''))
      assert.is_true(passed > 3, text)
      assert.is_nil(text:find('\nnot ok', 1, true), text)
    end)
  end
end)
