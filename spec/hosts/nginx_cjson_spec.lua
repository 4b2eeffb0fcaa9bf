--- The cjson of programs in nginx, beside ours: what verbs give is written by it, and what it
--- reads is stored. OpenResty's has marks for arrays, also for empty ones; Debian's has none, and
--- what it cannot tell is shown here as docs/api.md says it. STORES_TEST_CJSON names a folder with
--- another cjson.so than the one that is installed.
-- Plain pass alone: nginx is a process of its own, which no pass reaches.

local nginx = require('spec.support.nginx')
local support = require('spec.support')

local folder = os.getenv('STORES_TEST_CJSON')

describe('cjson in nginx', function()
  local db, other, server, has_marks

  -- Each target in turn: a store, a transaction, and shards where a verb names a row.
  local HEAD = [[
    local cjson = require('cjson')
    local store, said = S(), {}
    local function at(name) return { host = '%s', port = %s, user = '%s', database = name } end
    local function each_target(fn)
      said[#said + 1] = fn(store)
      store:transaction(function(tx) said[#said + 1] = fn(tx) end)
      local shards = stores.Shards.new({ { id = 0, db = at('%s') }, { id = 1, db = at('%s') } })
      said[#said + 1] = fn(shards)
      shards:close()
    end
  ]]

  local LOCATIONS = {
    ['/marks'] = "ngx.say(tostring(cjson.array_mt ~= nil), ' ', tostring(cjson._VERSION))",
    ['/empty'] = [[
      each_target(function(target)
        return cjson.encode({ target:findAll('docs', { where = { { 'n', '=', -1 } } }),
          (target:findByJSON('docs', { n = -1 })), (target:findAllByIds('docs', { '404' })),
          select(2, target:findAllByIds('docs', {})) })
      end)
      said[#said + 1] = cjson.encode((store:query('SELECT 1 WHERE false')))
      ngx.say(table.concat(said, '\n'))]],
    ['/full'] = [[
      each_target(function(target)
        return cjson.encode((target:findByJSON('docs', { n = 1 })))
      end)
      said[#said + 1] = cjson.encode((store:query('SELECT 1 AS one')))
      ngx.say(table.concat(said, '\n'))]],
    ['/document'] = [[
      each_target(function(target)
        local document = target:find('docs', '1')
        return cjson.encode({ document.tags, document.none, document.null, document.list })
      end)
      ngx.say(table.concat(said, '\n'))]],
    ['/read'] = [[
      if cjson.array_mt then cjson.decode_array_with_array_mt(true) end
      each_target(function(target)
        local document = cjson.decode('{"id": "2", "tags": [], "null": null, "list": [1, [2], 3.5],'
          .. '"none": {"a": {}}}')
        target:upsert('docs', document)
        local text = target:find('docs', '2', { raw = true, cache = false })
        target:delete('docs', '2')
        return text
      end)
      ngx.say(table.concat(said, '\n'))]],
    ['/made'] = [[
      local function plain() return {} end
      each_target(function(target)
        target:upsert('docs', { id = '4', null = cjson.null,
          a = cjson.array_mt and setmetatable({}, cjson.array_mt) or plain(),
          b = cjson.empty_array_mt and setmetatable({}, cjson.empty_array_mt) or plain(),
          c = cjson.empty_array or plain(),
          d = cjson.array_mt and setmetatable({ 1 }, cjson.array_mt) or { 1 } })
        target:updateProperty('docs', '4', 'e', cjson.empty_array or cjson.null)
        local text = target:find('docs', '4', { raw = true, cache = false })
        target:delete('docs', '4')
        return text
      end)
      ngx.say(table.concat(said, '\n'))]],
    ['/refused'] = [[
      each_target(function(target)
        local ok, err = pcall(target.upsert, target, 'docs', { id = '6', a = setmetatable({},
          { __index = { b = 1 } }) })
        return tostring(ok) .. ' ' .. err.code .. ' ' .. err.message:match('[^:]*:? ?(.*)')
      end)
      ngx.say(table.concat(said, '\n'))]],
  }

  lazy_setup(function()
    db, other = support.db(), support.db()
    for _, one in ipairs({ db, other }) do
      support.psql(one, [=[CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb);
        INSERT INTO docs VALUES (1, '{"n": 1, "tags": [], "none": {}, "null": null,
          "list": [1, []]}')]=])
    end
    local head, locations = HEAD:format(db.host, db.port, db.user, db.database, other.database), {}
    for path, text in pairs(LOCATIONS) do locations[path] = head .. text end
    local before = package.cpath -- nginx is started with it
    if folder then package.cpath = folder .. '/?.so;' .. before end
    server = nginx.over(db, locations)
    package.cpath = before
    has_marks = server:get('/marks'):match('^true') ~= nil
  end)
  lazy_teardown(function()
    server:stop()
    support.drop(db)
    support.drop(other)
  end)

  local function thrice(text)
    return text .. '\n' .. text .. '\n' .. text
  end

  it('writes lists as arrays, empty ones where it has a mark for them', function()
    local empty = has_marks and '[]' or '{}'
    local list = ('[%s,%s,%s,%s]'):format(empty, empty, empty, empty)
    assert.equal(thrice(list) .. '\n' .. empty, server:get('/empty'))
    local text = server:get('/full')
    local count = select(2, text:gsub('%[{', '[{'))
    assert.equal(4, count, text)
    assert.matches('\n%[{"one":1}%]$', text)
  end)

  it('writes what is in a document as it is', function()
    local expected = has_marks and '[[],{},null,[1,[]]]' or '[{},{},null,[1,{}]]'
    assert.equal(thrice(expected), server:get('/document'))
  end)

  it('reads what is stored as it was, with arrays where it marks them', function()
    local tags = has_marks and '[]' or '{}'
    assert.equal(thrice(('{"id": "2", "list": [1, [2], 3.5], "none": {"a": {}}, "null": null, '
      .. '"tags": %s}'):format(tags)), server:get('/read'))
  end)

  it('marks what is stored as what it means', function()
    assert.equal(thrice(has_marks
      and '{"a": [], "b": [], "c": [], "d": [1], "e": [], "id": "4", "null": null}'
      or '{"a": {}, "b": {}, "c": {}, "d": [1], "e": null, "id": "4", "null": null}'),
      server:get('/made'))
  end)

  it('does not say what an empty table of somebody else is, which is refused', function()
    local text = server:get('/refused')
    assert.equal(3, select(2, text:gsub('false invalid_document', '')), text)
    assert.equal(3, select(2, text:gsub('empty table with a foreign metatable', '')), text)
  end)
end)
