-- Makes the tables and their indexes, where they are not there.
local store = require('todo').store()
store:migrate(require('tables'))
store:close()
