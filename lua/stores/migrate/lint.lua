--- What in a list may hurt a database that is in use, with the safe form of each. A comment
--- `-- lint: allow NAME` in front of a statement, in it, or behind it on its last line says that it
--- is meant.

local json = require('stores.json')
local plan = require('stores.migrate.plan')
local rules = require('stores.migrate.lint.rules')
local list = require('stores.migrate.list')
local runner = require('stores.migrate.runner')
local script = require('stores.migrate.script')
local sql = require('stores.sql.text')
local statement = require('stores.migrate.lint.statement')
local world = require('stores.migrate.lint.world')

local lint = {}

---@class stores.LintOptions
---@field ledger? string
---@field all? boolean also those that the database has run
---@field large? integer bytes from which on a table is large; 64 MiB unless told otherwise
---@field lock_timeout? number seconds, as they are given to the run
---@field concurrency? integer over shards

---@class stores.LintFinding
---@field migration string its name
---@field statement? integer
---@field line? integer of the migration's text
---@field rule string
---@field message string
---@field safe string the safe form
---@field table? string
---@field rows? number of the table, about
---@field bytes? number likewise

local LOCK_TIMEOUT = 5

local NAMES = {}
for _, rule in ipairs(rules) do NAMES[rule.name] = true end

-- ---- What is allowed ----------------------------------------------------------------------------

-- Calls fn(name, line) for each rule that a comment of the text allows.
local function each_allowance(text, fn)
  local line, counted = 1, 1
  for kind, from, to in sql.tokens(text) do
    if kind == 'line_comment' or kind == 'comment' then
      local names = text:sub(from, to):match('%f[%w]lint:%s*allow%s+([%w%-,%s]+)')
      local _, breaks = text:sub(counted, from - 1):gsub('\n', '')
      line, counted = line + breaks, from
      for one in (names or ''):gmatch('[^,]+') do
        local name = one:match('[%w%-]+')
        if name then fn(name, line) end
      end
    end
  end
end

-- The statement that a comment is about: the one on whose lines it is, or the next one.
local function place_at(statements, line)
  for place, one in ipairs(statements) do
    local _, breaks = one.text:gsub('\n', '')
    if line <= one.line + breaks then return place end
  end
  return nil
end

local function allowances(step, report)
  local allowed = {}
  each_allowance(step.text, function(name, line)
    local place = place_at(step.statements, line)
    if not NAMES[name] or not place then
      report({ line = line, rule = 'allow', message = NAMES[name] and ("'%s' is allowed behind the"
        .. ' last statement, to none'):format(name) or ("there is no rule '%s'"):format(name),
        safe = 'the name of a rule, in front of the statement that it is about' })
    else
      allowed[place] = allowed[place] or {}
      allowed[place][name] = true
    end
  end)
  return allowed
end

-- ---- One migration ------------------------------------------------------------------------------

local function with_size(finding, known)
  local size = finding.table and known:size(finding.table)
  if size then finding.rows, finding.bytes = size.rows, size.bytes end
  return finding
end

local function check_statement(at, allowed, report)
  for _, rule in ipairs(rules) do
    if not (allowed and allowed[rule.name]) then
      at.say = function(text, name)
        report(with_size({ statement = at.place, line = at.found.line, rule = rule.name,
          message = text, safe = rule.safe, table = name }, at.world))
      end
      rule.check(at)
    end
  end
end

local function check_step(step, known, opts, report)
  local all, here = {}, {}
  for place, one in ipairs(step.statements) do all[place] = statement.read(one.text, one.line) end
  local allowed = allowances(step, report)
  if #all == 0 then
    report({ rule = 'empty', message = 'it holds no statement, and is written down as done',
      safe = 'its statements, before it runs anywhere' })
  end
  for place, found in ipairs(all) do
    check_statement({ step = step, found = found, all = all, place = place, here = here,
      world = known, lock_timeout = step.lock_timeout or opts.lock_timeout or LOCK_TIMEOUT },
      allowed[place], report)
    if found.kind == 'create_table' and found.tables[1] then here[found.tables[1]] = true end
  end
  known:add(all)
end

--- Looks at the migrations of a list that are SQL. A checkpoint only ever meets an empty database.
---@param steps stores.MigrationStep[]
---@param store? stores.MigrationTarget
---@param opts stores.LintOptions
---@param skipped? table<string, boolean> names of those that are only read for what they make
---@return stores.LintFinding[]
function lint.run(steps, store, opts, skipped)
  local findings, known = json.array(), world.new(store, opts)
  for _, step in ipairs(steps) do
    script.parse(step)
    if step.statements and step.type ~= 'checkpoint' and not (skipped and skipped[step.name]) then
      check_step(step, known, opts, function(finding)
        finding.migration = step.name
        findings[#findings + 1] = finding
      end)
    end
  end
  return findings
end

--- Looks at what a database has not run yet, with the sizes of its tables.
---@param entries stores.Migration[]
---@param store stores.MigrationTarget
---@param opts stores.LintOptions
---@return stores.LintFinding[]
function lint.over(entries, store, opts)
  local _, _, planned = runner.planned_for(entries, store, { ledger = opts.ledger, finish = true })
  local skipped = {}
  for _, item in ipairs(planned) do
    skipped[item.name] = not opts.all and (item.action == 'covered' or not plan.is_pending(item))
      or nil
  end
  return lint.run(list.read(entries), store, opts, skipped)
end

--- The findings of several databases as those of one: of each the one with the largest table.
---@param results stores.LintFinding[][]
---@return stores.LintFinding[]
function lint.merged(results)
  local findings, places = json.array(), {}
  for _, found in ipairs(results) do
    for _, finding in ipairs(found) do
      local key = ('%s\0%s\0%s\0%s'):format(finding.migration, finding.statement or finding.line,
        finding.rule, finding.table or '')
      local place = places[key] or #findings + 1
      local before = findings[place]
      if not before or (finding.bytes or 0) > (before.bytes or 0) then findings[place] = finding end
      places[key] = place
    end
  end
  return findings
end

return lint
