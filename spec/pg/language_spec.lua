-- A server that speaks another language: what Stores makes of its errors does not depend on their
-- words.
-- Plain pass alone: how errors are made of what a server says is in errors_spec for the passes.

local stores = require('stores')
local support = require('spec.support')
local postgres = require('spec.support.postgres')

local refused = support.refused

describe('a server that speaks German', function()
  local server, store

  -- gettext follows LANGUAGE where the locale is any but "C", and needs none of that language; the
  -- servers of stores.open have an environment of their own, so this one is started by hand
  local function speak_german()
    local data, socket = server.home .. '/server/pgdata', server.home .. '/socket'
    server:stop('fast')
    local as = ''
    if io.popen('id -u'):read('*n') == 0 then
      as = 'setpriv --reuid=postgres --regid=postgres --clear-groups '
    end
    local bin = io.popen('ls -d /usr/lib/postgresql/*/bin | tail -n 1'):read('*l')
    assert(os.execute(([[cd / && chmod 711 '%s/server' && mkdir -m 777 '%s' && LANGUAGE=de LC_ALL= \
      LC_MESSAGES=C.UTF-8 LD_PRELOAD= %s%s/pg_ctl -D '%s' -w -l '%s/log' \
      -o "-c lc_messages=C.UTF-8 \
      -c port=%d -c unix_socket_directories='%s' -c listen_addresses= -c hba_file='%s/hba.conf'" \
      start >/dev/null 2>&1]]):format(server.home, socket, as, bin, data, data, server.port, socket,
      server.home)) == 0, 'the server starts')
    server.socket = socket
    local file = assert(io.open(data .. '/postmaster.pid'))
    server.pid = file:read('*n')
    file:close()
  end

  setup(function()
    server = postgres.start()
    speak_german()
    server:psql([[CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb);
      CREATE TABLE mails (id bigint PRIMARY KEY, value jsonb);
      CREATE UNIQUE INDEX mails_u ON mails ((value->>'mail'))]])
    store = stores.Store.new(server:config({ statement_timeout = 1 }), nil)
  end)

  teardown(function()
    store:close()
    server:remove()
  end)

  local german

  before_each(function()
    german = german == nil and select(2, pcall(store.query, store, 'SELEKT')).message
      :find('Syntaxfehler', 1, true) ~= nil or german
  end)

  it('is told apart from one that speaks English by nothing but its messages', function()
    if not german then return pending('the server has no German messages') end
    store:insert('docs', { id = '1', n = 'x' })
    local err = refused('duplicate', 'docs has a row', store.insert, store, 'docs', { id = '1' })
    assert.is_nil(err.constraint)
    store:insert('mails', { id = '1', mail = 'a@b.c' })
    err = refused('duplicate', nil, store.insert, store, 'mails', { id = '2', mail = 'a@b.c' })
    assert.equal('mails_u', err.constraint)
    refused('duplicate', 'mails has a row', store.insert, store, 'mails', { id = '1', mail = 'd' })
    refused('path_blocked', nil, store.updateProperty, store, 'docs', '1', { 'n', 'm' }, 1)
    err = refused('invalid_argument', nil, store.query, store, 'SELECT $1::int[]', { { 1, 2 } })
    assert.truthy(err.hint:find('sent as JSON', 1, true))
    err = refused('invalid_argument', nil, store.query, store, 'SELECT $1::int', { 'hush-hush' })
    assert.is_nil(tostring(err):find('hush', 1, true))
  end)

  it('says that a limit was reached in words of its own: the statement is not run again', function()
    local sent = 0
    local function count(statement)
      if statement.sql:find('pg_sleep', 1, true) then sent = sent + 1 end
    end
    local off = stores.on('statement', count)
    local err = refused('canceled', german and 'Zeit' or nil, store.query, store,
      'SELECT pg_sleep(20)', nil, { readonly = true })
    off()
    assert.equal('57014', err.sqlstate)
    assert.equal(1, sent)
  end)
end)
