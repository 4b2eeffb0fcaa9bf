--- A proxy between one worker and its servers, that knows the steps of a write by what passes. At a
--- step it sends the worker a signal and holds what would go on; it also cuts and delays replies.
--- Its argument is JSON: {pg = {listen, target}, redis = {listen, target}}, paths of unix sockets.
--- Commands come as lines of JSON on stdin, events go as lines to stdout:
---   {do = 'arm', step, signal, pid}    the next time the step is reached; says `reached <step>`
---   {do = 'release'}                   what is held goes on, also of a worker that is dead
---   {do = 'calm'}                      that, and no fault is left
---   {do = 'cut', server, after}        the next reply is cut after so many bytes; says `cut`
---   {do = 'delay', server, ms}         replies come so much later; 0 ends that
--- Steps: begin, dml, before intent, after intent, commit, late commit, settle.

local cjson = require('cjson')
local uv = require('luv')

local config = cjson.decode(arg[1])
local armed -- {step, signal, pid}
local faults = { pg = {}, redis = {} }
local links = {}

local function say(text)
  io.stdout:write(text, '\n')
  io.stdout:flush()
end

local function int32(text, at)
  local a, b, c, d = text:byte(at, at + 3)
  return ((a * 256 + b) * 256 + c) * 256 + d
end

-- ---- Messages: each reader takes the first whole message of a buffer ----------------------------

-- Of PostgreSQL; the first of a connection has no type.
local function pg_message(link, buffer)
  if not link.started then
    if #buffer < 4 then return nil end
    local size = int32(buffer, 1)
    if #buffer < size then return nil end
    link.started = true
    return size
  end
  if #buffer < 5 then return nil end
  local size = 1 + int32(buffer, 2)
  return #buffer >= size and size or nil
end

-- Of Redis: an array of strings.
local function redis_message(_, buffer)
  local count, at = buffer:match('^%*(%d+)\r\n()')
  if not count then return nil end
  local words = {}
  for i = 1, tonumber(count) do
    local size, from = buffer:match('^%$(%d+)\r\n()', at)
    if not size or #buffer < from + size + 1 then return nil end
    words[i] = buffer:sub(from, from + size - 1)
    at = from + size + 2
  end
  return at - 1, words
end

local function step_of_sql(sql)
  sql = sql:upper()
  if sql:find('^BEGIN') and not sql:find('READ ONLY') then return 'begin' end
  if sql:find('^COMMIT') then return 'commit' end
  if sql:find('^UPDATE') or sql:find('^INSERT') or sql:find('^DELETE') or sql:find('^COPY') then
    return 'dml'
  end
end

-- Which step of a write a message is.
local function pg_step(link, message)
  local kind = message:sub(1, 1)
  if kind == 'P' then
    local name, sql = message:match('^([^%z]*)%z([^%z]*)', 6)
    link.statements[name] = sql
  elseif kind == 'B' then
    link.bound = link.statements[message:match('^[^%z]*%z([^%z]*)', 6)]
  elseif kind == 'E' then
    return step_of_sql(link.bound or '')
  elseif kind == 'Q' then
    return step_of_sql(message:sub(6))
  end
end

-- The scripts differ in their arguments (core/cache/scripts.h).
local function redis_step(_, _, words)
  local command = (words[1] or ''):upper()
  if command ~= 'EVALSHA' and command ~= 'EVAL' then return nil end
  local first = 4 + tonumber(words[3])
  local count = #words - first + 1
  if (count == 2 or count == 6 and #words[first + 3] == 16) and #words[first + 1] == 32 then
    return 'intent' -- of a table whose rows nobody holds, or of another one
  end
  if count >= 4 and (words[first + 1] == 'W' or words[first + 1] == 'R') then return 'settle' end
end

-- ---- Links --------------------------------------------------------------------------------------

local function close(link)
  if link.closed then return end
  link.closed = true
  links[link] = nil
  for _, pipe in ipairs({ link.client, link.server }) do
    if not pipe:is_closing() then pipe:close() end
  end
end

local function send(link, pipe, data)
  if data ~= '' and not link.closed and not pipe:is_closing() then pipe:write(data) end
end

local function up(link, data)
  if link.hold_up then
    link.held_up = link.held_up .. data
  else
    send(link, link.server, data)
  end
end

local function after(ms, fn)
  local timer = uv.new_timer()
  timer:start(ms, 0, function()
    timer:close()
    fn()
  end)
end

local function deliver(link, data)
  local fault = faults[link.name]
  if link.cut then return end
  if not fault.cut then
    send(link, link.client, data)
    return
  end
  send(link, link.client, data:sub(1, fault.cut))
  if #data <= fault.cut then
    fault.cut = fault.cut - #data
    return
  end
  fault.cut, link.cut = nil, true -- nothing more of it
  say('cut')
  after(1, function() close(link) end)
end

local function down(link, data)
  local delay = faults[link.name].delay or 0
  if link.hold_down then
    link.held_down = link.held_down .. data
  elseif delay > 0 or link.late_replies > 0 then
    -- never before what came before it
    link.due = math.max(link.due, uv.now() + delay)
    link.late_replies = link.late_replies + 1
    after(link.due - uv.now(), function()
      link.late_replies = link.late_replies - 1
      deliver(link, data)
    end)
  else
    deliver(link, data)
  end
end

local function fire(step)
  local target = armed
  armed = nil
  if target.signal then uv.kill(target.pid, target.signal) end
  say('reached ' .. step)
end

-- What an armed step does with the message that reaches it.
local STEPS = {
  ['begin'] = { on = 'begin', forward = true, hold = 'up' },
  ['dml'] = { on = 'dml', forward = true, hold = 'down' },
  ['before intent'] = { on = 'intent', hold = 'up' },
  ['after intent'] = { on = 'intent', forward = true, hold = 'down' },
  ['commit'] = { on = 'commit', forward = true, hold = 'down' },
  ['late commit'] = { on = 'commit', hold = 'up', late = true },
  ['settle'] = { on = 'settle', hold = 'up' },
}

local function pass(link, message, step)
  local rule = armed and STEPS[armed.step]
  if not rule or step ~= rule.on then
    up(link, message)
    return
  end
  if rule.forward then up(link, message) end
  link['hold_' .. rule.hold] = true
  link.late = rule.late
  if not rule.forward then up(link, message) end
  link.fire = armed.step
end

local function from_client(link, data)
  link.buffer = link.buffer .. data
  while true do
    local first = link.name == 'pg' and not link.started
    local size, words = link.message(link, link.buffer)
    if not size then break end
    local message = link.buffer:sub(1, size)
    link.buffer = link.buffer:sub(size + 1)
    pass(link, message, not first and link.step(link, message, words) or nil)
  end
  if link.fire then
    -- all of this turn has been passed on or is held: now the worker gets its signal
    local step = link.fire
    link.fire = nil
    fire(step)
  end
end

local function release()
  armed = nil
  for link in pairs(links) do
    link.hold_up, link.hold_down = nil, nil
    send(link, link.server, link.held_up)
    send(link, link.client, link.held_down)
    link.held_up, link.held_down = '', ''
    if link.gone then
      -- the server may still read what a dead client sent
      after(200, function() close(link) end)
    end
  end
end

local function client_gone(link)
  if link.late and link.hold_up then
    link.gone = true -- its last message is still on its way
  else
    close(link)
  end
end

local function accept(name, place, listener)
  local link = { name = name, client = uv.new_pipe(false), server = uv.new_pipe(false),
    buffer = '', held_up = '', held_down = '', due = 0, late_replies = 0,
    statements = {},
    message = name == 'pg' and pg_message or redis_message,
    step = name == 'pg' and pg_step or redis_step }
  links[link] = true
  listener:accept(link.client)
  link.server:connect(place.target, function(failure)
    if failure then
      close(link)
      return
    end
    link.client:read_start(function(err, data)
      if data then from_client(link, data) elseif err or not data then client_gone(link) end
    end)
    link.server:read_start(function(_, data)
      if data then down(link, data) else close(link) end
    end)
  end)
end

for name in pairs(faults) do
  local place = config[name]
  local listener = uv.new_pipe(false)
  assert(listener:bind(place.listen))
  listener:listen(128, function() accept(name, place, listener) end)
end

-- ---- Commands -----------------------------------------------------------------------------------

local commands = {}

function commands.arm(command) armed = command end

function commands.release() release() end

function commands.calm()
  faults = { pg = {}, redis = {} }
  release()
end

function commands.cut(command) faults[command.server].cut = command.after end

function commands.delay(command)
  faults[command.server].delay = command.ms > 0 and command.ms or nil
end

local stdin, rest = uv.new_pipe(false), ''
stdin:open(0)
stdin:read_start(function(_, data)
  if not data then os.exit(0) end
  rest = (rest .. data):gsub('([^\n]*)\n', function(line)
    local command = cjson.decode(line)
    commands[command['do']](command)
    return ''
  end)
end)

-- a server or a worker that died is no reason to die
uv.new_signal():start('sigpipe', function() end)

say('ready')
uv.run()
