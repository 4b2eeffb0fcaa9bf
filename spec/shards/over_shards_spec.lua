--- The specs of the API of a store once more, over three shards with private pairs of servers: the
--- same program runs on one server and on several.
-- Plain pass alone: it runs other files, each of which has these passes for itself.

local postgres = require('spec.support.postgres')
local redis = require('spec.support.redis')
local support = require('spec.support')

-- A child of this run has the shards in its environment.
if os.getenv('STORES_TEST_SHARDS') then return end

-- Each with what it does that is about one server: SQL that makes rows without saying their ids one
-- by one, what is unique, or all or nothing, or one transaction over all rows; the insides of a
-- store; other processes.
local SPECS = {
  { 'lua/read_verbs_spec', 'no id of their own in the document', 'counts all, or' },
  { 'lua/write_verbs_spec', 'draws another id', 'does not draw again', '^a store ' },
  { 'lua/paths_spec', 'whose value is no object' },
  { 'lua/update_object_spec', 'for another unique column', 'reads as no object' },
  { 'lua/update_object_races_spec', 'by two stores at once', 'whose store is closed' },
  { 'lua/combine_spec', 'leaves nothing of a row' },
  { 'read/criteria_spec' },
  { 'read/order_spec' },
  { 'read/where_spec' },
  { 'read/etag_spec' },
  { 'read/find_by_spec', 'costs one find', 'in any process', 'after it said', 'never stale' },
  { 'write/conditional_spec', 'takes a transaction back' },
  { 'write/many_spec', 'what cascades', 'all or nothing', 'waiting for himself' },
  { 'tables/validate_spec', 'over shards' },
  { 'tables/upcast_spec', 'parts are made of it', 'and counts them', 'how far it came' },
}
local AT_ONCE = 4

-- Starts one; what it prints is read later.
local function start(spec, where)
  local left_out = {}
  for place = 2, #spec do left_out[place - 1] = ("--filter-out='%s'"):format(spec[place]) end
  local at = support.config()
  return assert(io.popen(("STORES_TEST_PGHOST='%s' STORES_TEST_REDIS_SOCKET='%s' "
    .. "STORES_TEST_SHARDS=3 STORES_TEST_SHARD_PAIRS='%s' luajit $(command -v busted) -o TAP "
    .. '--exclude-tags=slow %s spec/%s.lua 2>&1')
    :format(at.host, support.redis().path, where, table.concat(left_out, ' '), spec[1])))
end

describe('three shards in place of a store, #slow', function()
  local servers, where, pipes = {}, '', {}

  setup(function()
    for place = 1, 3 do
      local pair = { pg = postgres.start(), redis = redis.start() }
      servers[place] = pair
      where = ('%s%s %d %s\n'):format(where, pair.pg.socket, pair.pg.port,
        pair.redis:config().path)
    end
  end)
  teardown(function()
    for _, pipe in pairs(pipes) do pipe:close() end
    for _, pair in ipairs(servers) do
      pair.pg:remove()
      pair.redis:remove()
    end
  end)

  for place, spec in ipairs(SPECS) do
    it('pass ' .. spec[1], function()
      for next = place, math.min(place + AT_ONCE - 1, #SPECS) do
        pipes[next] = pipes[next] or start(SPECS[next], where)
      end
      local text = pipes[place]:read('*a')
      pipes[place]:close()
      pipes[place] = nil
      local passed = select(2, text:gsub('\nok %d+', ''))
      assert.is_true(passed >= 3, text)
      assert.is_nil(text:find('\nnot ok', 1, true), text)
    end)
  end
end)
