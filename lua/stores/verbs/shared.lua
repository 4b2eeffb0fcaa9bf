--- The verbs that a store and a transaction have both, by their names.

local bulk = require('stores.verbs.bulk')
local many = require('stores.verbs.many')
local reads = require('stores.verbs.reads')
local unique = require('stores.verbs.unique')
local writes = require('stores.verbs.writes')

local shared = {}

for _, verbs in ipairs({ reads, unique, writes, many, bulk }) do
  for name, verb in pairs(verbs) do shared[name] = verb end
end

return shared
