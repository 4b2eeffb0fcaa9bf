--- Runners of migrations in processes of their own.

local process = require('spec.support.process')

local runners = {}

--- Starts one, which prints how it ended.
---@param db table
---@param list_source string
---@param opts_source string?
---@return spec.Process
function runners.start(db, list_source, opts_source)
  return process.lua(([[
    local list = %s
    local db = { host = %q, port = %d, user = %q, database = %q }
    local ok, result = pcall(require('migrations').runMigrations, list, db, %s)
    print(ok and ('ran ' .. #result.ran .. ', skipped ' .. #result.skipped) or tostring(result))
  ]]):format(list_source, db.host, db.port, db.user, db.database, opts_source or '{}'))
end

--- The list that its source has.
---@param source string
---@return table
function runners.list(source) return assert(loadstring('return ' .. source))() end

return runners
