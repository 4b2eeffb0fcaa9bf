--- The specs of the API once more, over a Citus cluster: on a table that is distributed by its ids,
--- and on a reference table. The same program runs on one server and on several.
-- Plain pass alone: it runs other files, each of which has these passes for itself.

local citus = require('spec.support.citus')
local support = require('spec.support')

-- A child of this run has them in its environment.
if os.getenv('STORES_TEST_CITUS') then return end

-- Each with what is otherwise there: by the names of its specs, of both kinds of tables or of one.
local SPECS = {
  { 'lua/read_verbs_spec' },
  { 'lua/write_verbs_spec' },
  { 'lua/paths_spec' },
  { 'read/criteria_spec' },
  { 'read/order_spec' },
  { 'read/where_spec' },
  { 'read/etag_spec' },
  { 'write/bulk_spec', distributed = true }, -- its unique index is not of the id
  { 'write/many_spec', 'is explained', reference = { 'keeps who holds a row' } },
  { 'write/update_each_spec', 'what is not cached',
    reference = { 'a call for a row that it holds' } },
  { 'write/conditional_spec' },
  { 'tables/expire_spec', 'does not keep its table' },
}

local function run(kind, spec)
  local left_out = {}
  local function leave_out(list)
    for _, name in ipairs(list) do left_out[#left_out + 1] = ("--filter-out='%s'"):format(name) end
  end
  leave_out({ unpack(spec, 2) })
  leave_out(type(spec[kind]) == 'table' and spec[kind] or {})
  local at = support.config()
  local pipe = assert(io.popen(("STORES_TEST_PGHOST='%s' STORES_TEST_REDIS_SOCKET='%s' "
    .. 'STORES_TEST_CITUS=%s luajit $(command -v busted) -o TAP --exclude-tags=slow %s '
    .. 'spec/%s.lua 2>&1'):format(at.host, support.redis().path, kind,
    table.concat(left_out, ' '), spec[1])))
  local text = pipe:read('*a')
  pipe:close()
  return text
end

for _, kind in ipairs({ 'distributed', 'reference' }) do
  describe(kind .. ' tables of Citus in place of plain ones, #slow', function()
    for _, spec in ipairs(SPECS) do
      if spec[kind] ~= true then
        it('pass ' .. spec[1], function()
          if not citus.is_there() then return pending(citus.SKIPPED) end
          local text = run(kind, spec)
          local passed = select(2, ('\n' .. text):gsub('\nok %d+', ''))
          assert.is_true(passed > 3, text)
          assert.is_nil(text:find('\nnot ok', 1, true), text)
        end)
      end
    end
  end)
end
