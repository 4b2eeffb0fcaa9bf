--- The rules of the lint: what each says of one statement of a migration. What only takes a lock
--- for a moment is not named: the runner waits for it five seconds (lock_timeout), and tries again,
--- so that those who queue up behind it wait no longer. What is named keeps the lock while it
--- works, or takes away what a running version needs.

local change = require('stores.migrate.lint.change')
local lock = require('stores.migrate.lint.lock')
local loss = require('stores.migrate.lint.loss')
local rest = require('stores.migrate.lint.rest')

---@class stores.lint.At one statement of a migration
---@field step stores.MigrationStep
---@field found stores.lint.Statement
---@field all stores.lint.Statement[] of the migration
---@field place integer of the statement
---@field here table<string, boolean> tables that the same migration has made before
---@field world stores.lint.World
---@field lock_timeout number seconds that a statement waits for a lock
---@field say fun(text: string, table?: string)

---@class stores.lint.Rule
---@field name string
---@field text string what it finds
---@field safe string what to do instead
---@field check fun(at: stores.lint.At)

---@type stores.lint.Rule[]
local rules = {}

for _, list in ipairs({ change, lock, loss, rest }) do
  for _, rule in ipairs(list) do rules[#rules + 1] = rule end
end

return rules
