--- docs/inspecting.md against what the commands that look can say: their codes and verdicts.
-- Plain pass alone: it reads files.

local row = require('stores.inspect.row')
local shell = require('spec.support.shell')
local why = require('stores.inspect.why')

local root = os.getenv('STORES_ROOT') or '.'

-- The codes in the first column of the tables of a section.
local function told(section)
  local text = shell.read(root .. '/docs/inspecting.md') .. '\n## '
  local found = {}
  for line in text:match('\n## ' .. section .. '\n(.-)\n## '):gmatch('[^\n]+') do
    for code in (line:match('^| (`.-) |') or ''):gmatch('`([%w_]+)`') do found[code] = true end
  end
  return found
end

local function sorted(set)
  local list = {}
  for name in pairs(set) do list[#list + 1] = name end
  table.sort(list)
  return list
end

-- The codes that the source of some files has.
local function in_source(files, pattern)
  local found = {}
  for path in shell.output(('cd %s && ls %s'):format(shell.quoted(root), files)):gmatch('[^\n]+') do
    for code in shell.read(root .. '/' .. path):gmatch(pattern) do found[code] = true end
  end
  return found
end

describe('docs/inspecting.md', function()
  it('has every verdict of cache', function()
    assert.same(sorted(row.VERDICTS), sorted(told('cache')))
  end)

  it('has every code of doctor', function()
    assert.same(sorted(in_source('lua/stores/inspect/checks/*.lua', "code = '([%w_]+)'")),
      sorted(told('doctor')))
  end)

  it('has every code of why', function()
    local codes = why.codes()
    codes.no_table, codes.nobody = nil, nil -- which this command never gets to see
    assert.same(sorted(codes), sorted(told('why')))
  end)
end)
