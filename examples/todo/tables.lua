-- The tables of the service: the program and its migrations share this file.
local stores = require('stores')

local function demand(condition, why)
  if not condition then stores.errors.raise('invalid_argument', why) end
end

local function check_user(user)
  demand(#user.email < 200 and user.email:find('^%S+@%S+$'), 'that is no e-mail address')
end

local function check_todo(todo)
  local text = todo.text
  demand(type(text) == 'string' and #text > 0 and #text <= 500, 'text has 1 to 500 bytes')
  demand(type(todo.done) == 'boolean', 'done is true or false')
end

return {
  stores.define('users', { unique = { 'email' }, validate = check_user }),
  stores.define('sessions', { expires = 'expires_at' }),
  stores.define('todos', { indexes = { { 'owner', '-created' }, { 'owner', 'done', '-created' } },
    strict = true, validate = check_todo }), -- strict: a list that no index serves is refused
  stores.define('counters', {}), -- one of each user, with the user's id
}
