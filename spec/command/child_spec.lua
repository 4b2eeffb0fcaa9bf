--- Programs that a command runs, as it ends them.
-- Plain pass alone: programs of their own.

local child = require('stores.command.child')
local shell = require('spec.support.shell')

local LONG = 'exec sleep 600' -- longer than any spec may take

local function yes() return true end

describe('a program of a command', function()
  it('gives its lines, what they end with, and its status', function()
    local lines = {}
    local status, said, stopped = child.run('echo one >&2; echo two >&2; echo out; exit 7', {
      line = function(text) lines[#lines + 1] = text end, stopping = function() return false end })
    assert.same({ 7, 'one\ntwo', false }, { status, said, stopped })
    assert.same({ 'one', 'two' }, lines)
  end)

  it('is ended where the command is to stop, also before it has begun', function()
    local folder, path = shell.folder(), os.getenv('PATH')
    -- its session is there some time after its number is known, as on a machine that is busy
    shell.write(folder .. '/setsid', '#!/bin/sh\nsleep 0.3\nPATH=' .. shell.quoted(path)
      .. ' exec setsid "$@"\n')
    shell.run('chmod +x ' .. shell.quoted(folder .. '/setsid'))
    local line = ('PATH=%s; %s'):format(shell.quoted(path), LONG)
    local set = require('stores.command.shell').set
    set({ PATH = folder .. ':' .. path })
    local status, _, stopped = child.run(line, { stopping = yes })
    set({ PATH = path })
    shell.run('rm -rf ' .. shell.quoted(folder))
    assert.same({ 143, true }, { status, stopped })
  end)

  it('is killed where it does not end when it is asked to', function()
    local asked
    local line = "trap '' TERM; echo ready >&2; while :; do sleep 1; done"
    local status, _, stopped = child.run(line, {
      patience = 0.2, line = function() asked = true end, stopping = function() return asked end })
    assert.same({ 137, true }, { status, stopped })
  end)

  it('was not stopped where it was done before it heard of that', function()
    local asked
    local status, _, stopped = child.run("trap '' TERM; echo ready >&2; sleep 0.5", {
      patience = 60, line = function() asked = true end, stopping = function() return asked end })
    assert.same({ 0, false }, { status, stopped })
  end)
end)
