--- What is wrong with the servers, the tables and the cache, by how bad it is, each with what to
--- do.

local counted = require('stores.inspect.counted')
local errors = require('stores.errors')

local doctor = {}

---@class stores.Finding
---@field severity 'error'|'warning'|'note'
---@field code string names the kind
---@field text string
---@field advice string
---@field table string?
---@field fix (fun(): boolean)? mends it, where that is safe; false: not yet
---@field is_fixed boolean?

---@class stores.DoctorWork what the checks are given
---@field store stores.Store
---@field add fun(finding: stores.Finding)
---@field fact fun(text: string)
---@field all boolean? every row is looked at
---@field long number seconds from which on a transaction is told of
---@field processes integer? how many processes there are to be
---@field has_redis boolean set by the first check
---@field stopping (fun(): boolean)?
---@field progress fun(count: integer)?

---@class stores.DoctorReport
---@field facts string[]
---@field findings stores.Finding[]
---@field is_whole boolean false: it was stopped

local CHECKS = {
  require('stores.inspect.checks.servers'),
  require('stores.inspect.checks.clocks'),
  require('stores.inspect.checks.tables'),
  require('stores.inspect.checks.cached'),
}

local LONG = 300 -- seconds
local ORDER = { error = 1, warning = 2, note = 3 }

local function by_severity(findings)
  for at, finding in ipairs(findings) do finding.order = at end
  table.sort(findings, function(a, b)
    if a.severity ~= b.severity then return ORDER[a.severity] < ORDER[b.severity] end
    return a.order < b.order
  end)
  for _, finding in ipairs(findings) do finding.order = nil end
end

--- Looks at everything.
---@param store stores.Store
---@param opts? {all: boolean?, long: number?, processes: integer?, fix: boolean?,
--- stopping: (fun(): boolean)?, progress: fun(count: integer)?}
---@return stores.DoctorReport
function doctor.look(store, opts)
  opts = opts or {}
  local report = { facts = {}, findings = {}, is_whole = true }
  local work = { store = store, all = opts.all, long = opts.long or LONG,
    processes = opts.processes, has_redis = false, stopping = opts.stopping,
    progress = opts.progress }
  function work.add(finding) table.insert(report.findings, finding) end
  function work.fact(text) table.insert(report.facts, text) end
  local function is_stopped() return opts.stopping ~= nil and opts.stopping() end
  for _, check in ipairs(CHECKS) do
    if is_stopped() then break end
    local ok, err = pcall(check, work)
    if not ok then
      -- what one check may not ask, another one may
      if not errors.is(err) or #report.facts == 0 then error(err, 0) end
      work.add({ severity = 'error', code = err.code, text = 'this could not be looked at: '
        .. tostring(err), advice = 'ask as a role, or a user of Redis, that may' })
    end
  end
  by_severity(report.findings)
  report.is_whole = not is_stopped()
  -- what was not looked at to its end is left as it is
  if opts.fix and report.is_whole then doctor.fix(report) end
  return report
end

--- Mends what is safe to be mended.
---@param report stores.DoctorReport
function doctor.fix(report)
  for _, finding in ipairs(report.findings) do
    if finding.fix then finding.is_fixed = finding.fix() end
  end
end

--- Whether something is wrong that was not mended.
---@param report stores.DoctorReport
---@return boolean
function doctor.is_ill(report)
  for _, finding in ipairs(report.findings) do
    if finding.severity == 'error' and not finding.is_fixed then return true end
  end
  return false
end

--- A report as a program reads it.
---@param report stores.DoctorReport
---@return table
function doctor.plain(report)
  local json = require('stores.json')
  local findings = {}
  for at, finding in ipairs(report.findings) do
    findings[at] = { severity = finding.severity, code = finding.code, text = finding.text,
      advice = finding.advice, table = finding.table, is_fixable = finding.fix ~= nil,
      is_fixed = finding.is_fixed or false }
  end
  return { facts = json.array(report.facts), findings = json.array(findings),
    is_whole = report.is_whole }
end

--- A report as lines.
---@param report stores.DoctorReport
---@return string[]
function doctor.lines(report)
  local lines, counts = {}, { error = 0, warning = 0, note = 0 }
  for _, fact in ipairs(report.facts) do lines[#lines + 1] = fact end
  for _, finding in ipairs(report.findings) do
    local fixed = ''
    if finding.is_fixed then
      fixed = ' (mended)'
    else
      counts[finding.severity] = counts[finding.severity] + 1
    end
    lines[#lines + 1] = ('%-8s %s%s'):format(finding.severity, finding.text, fixed)
    if not finding.is_fixed then lines[#lines + 1] = '         -> ' .. finding.advice end
  end
  lines[#lines + 1] = #report.findings == 0 and 'nothing is wrong'
    or table.concat({ counted(counts.error, 'error'), counted(counts.warning, 'warning'),
      counted(counts.note, 'note') }, ', ')
  return lines
end

return doctor
