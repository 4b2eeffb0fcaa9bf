--- The man page and the completion of `stores`, which come of the definitions of its commands.
-- Plain pass alone: programs of their own.

local list = require('stores.command.list')
local shell = require('spec.support.shell')

local root = os.getenv('STORES_ROOT') or '.'

describe('the pages of stores', function()
  local folder

  lazy_setup(function()
    folder = shell.folder()
    local status, text = shell.run(('cd %s && luajit tools/pages.lua %s'):format(shell.quoted(root),
      shell.quoted(folder)))
    assert.equal(0, status, text)
  end)
  lazy_teardown(function() shell.run('rm -rf ' .. shell.quoted(folder)) end)

  it('are a man page that man reads without a complaint, with every command', function()
    if not shell.output('command -v man'):find('man') then
      pending('man is not installed')
      return
    end
    local status, text = shell.run(('LC_ALL=C MANWIDTH=80 man --warnings -l %s/stores.1 | col -b')
      :format(shell.quoted(folder)))
    assert.equal(0, status, text)
    assert.is_nil(text:match('[^\n]*warning:[^\n]*'))
    for _, module in ipairs(list) do
      local command = require(module)
      assert.truthy(text:find('\n   stores ' .. command.name .. '\n', 1, true), command.name)
    end
    assert.matches('\nEXIT STATUS\n', text)
  end)

  -- What bash offers behind these words, in its own order.
  local function offered(line)
    local words, count = {}, 0
    for word in (line .. ' '):gmatch('(.-) ') do
      count = count + 1
      words[count] = shell.quoted(word)
    end
    return (shell.output(([[cd %s && bash -c '. "$0/stores.bash"; compopt() { :; }
      COMP_WORDS=("$@"); COMP_CWORD=%d; _stores; echo "${COMPREPLY[*]}"' %s %s 2>&1]]):format(
      shell.quoted(folder), count - 1, shell.quoted(folder), table.concat(words, ' ')))
      :gsub('\n$', ''))
  end

  it('complete commands, options and what options take', function()
    assert.equal('down', offered('stores do'):match('^(down)'))
    assert.matches('%f[%w]get find%f[%W]', (offered('stores ')))
    assert.equal('--no-cache', offered('stores get --no'))
    assert.equal('--no-cache', offered('stores --config x get users --no'))
    assert.equal('--json', offered('stores get users 1 --js'))
    assert.equal('done', offered('stores migrate x --unfinished d'))
    assert.equal('stores.1', offered('stores --config stores.1'))
    assert.equal('stores.1', offered('stores migrate stores.1'))
    assert.equal('plan', offered('stores migrate stores.1 pl'))
    shell.run(('mkdir %s/private'):format(shell.quoted(folder)))
    assert.equal('private', offered('stores up pri'))
    assert.equal('private', offered('stores find users --data pri'))
    assert.equal('', offered('stores get us'))
  end)
end)
