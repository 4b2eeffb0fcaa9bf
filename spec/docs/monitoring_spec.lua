--- examples/monitoring: the dashboard and the alert rules name figures, and labels, of a scrape.
-- Plain pass alone: it reads files, and a scrape.

local json = require('stores').json
local prometheus = require('spec.support.prometheus')
local stores = require('stores')
local support = require('spec.support')

local root = os.getenv('STORES_ROOT') or '.'

local function read(path)
  local file = assert(io.open(root .. '/examples/monitoring/' .. path))
  local text = file:read('*a')
  file:close()
  return text
end

-- The expressions of the dashboard: of its panels and of its variables.
local function of_dashboard()
  local list, dashboard = {}, json.decode(read('dashboard.json'))
  for _, panel in ipairs(dashboard.panels) do
    for _, target in ipairs(panel.targets) do
      list[#list + 1] = { where = panel.title, expr = target.expr, legend = target.legendFormat }
    end
  end
  for _, variable in ipairs(dashboard.templating.list) do
    if variable.type == 'query' then
      list[#list + 1] = { where = variable.name, expr = variable.query, legend = '' }
    end
  end
  return list
end

-- The rules: each line of a rule is in its place, and what it says is taken as text.
local function of_rules()
  local list, rule = {}, nil
  local function add(key, text) rule[key] = (rule[key] and rule[key] .. ' ' or '') .. text end
  local folded
  for line in read('alerts.yml'):gmatch('[^\n]+') do
    local name = line:match('^      %- alert: (%u%w+)$')
    local key, value = line:match('^        (%l+): ?(.*)$')
    if name then
      rule, folded = { where = name }, nil
      list[#list + 1] = rule
    elseif key then
      folded = value == '>-' and key or nil
      if not folded then add(key, value) end
    elseif line:find('^          ') and folded then
      add(folded, line:match('^%s*(.*)$'))
    elseif line:match('^          summary: \'.+\'$') then
      rule.legend = line
    else
      assert.truthy(line:find('^#') or line:find('^groups:$') or line:find('^  %- name: ')
        or line:find('^    rules:$'), line)
    end
  end
  return list
end

local WORDS = { sum = true, min = true, max = true, by = true, rate = true, increase = true,
  histogram_quantile = true, label_values = true, ['and'] = true }

-- Names of figures, and of labels, that an expression has.
local function names_of(expr)
  local figures, labels = {}, {}
  local rest = expr:gsub('by %(([%w_, ]+)%)', function(list)
    for label in list:gmatch('[%w_]+') do labels[label] = true end
    return ''
  end):gsub('{(.-)}', function(list)
    for label in list:gmatch('([%w_]+)=') do labels[label] = true end
    return ''
  end):gsub('%[[%w$_]+%]', ''):gsub(', store%)$', ')')
  for word in rest:gmatch('[%a_][%w_]*') do
    if not WORDS[word] then figures[word] = true end
  end
  return figures, labels
end

describe('examples/monitoring', function()
  local families

  setup(function()
    local store, db = support.store({ 'users' })
    store:insert('users', { id = '1', n = 1 })
    store:find('users', '1')
    store:query('CREATE VIEW views AS SELECT * FROM users')
    store:find('views', '1')
    stores.run(function()
      -- a table turns as long as somebody who wrote it has not committed
      local writer = stores.Store.new(support.config(db.database), nil, { cache = false })
      writer:transaction(function(tx)
        tx:query("UPDATE users SET value = '{}' WHERE id = 1")
        stores.spawn(function()
          support.eventually(function()
            store:invalidate('users')
            return store:stats().turning[1]
          end)
          families = prometheus.read(stores.metrics())
        end):join()
      end)
      writer:close()
    end)
    support.close(store, db)
  end)

  -- The labels of a family, and what templates may name of an expression.
  local function labels_of(family)
    local labels = { le = family.kind == 'histogram' or nil }
    for key in pairs(family.series) do
      for label in key:gmatch('([%w_]+)="') do labels[label] = true end
    end
    return labels
  end

  local function check(list)
    for _, one in ipairs(list) do
      local figures, labels = names_of(one.expr)
      assert.is_truthy(next(figures), one.where)
      local has = {}
      for name in pairs(figures) do
        local family = families[name] or families[name:gsub('_bucket$', '')]
          or families[name:gsub('_count$', '')]
        assert.is_table(family, one.where .. ' names ' .. name .. ', which no scrape has')
        for label in pairs(labels_of(family)) do has[label] = true end
      end
      for label in pairs(labels) do assert.is_true(has[label], one.where .. ': ' .. label) end
      for name in (one.legend or ''):gmatch('{{(.-)}}') do
        local label = name:match('([%w_]+) ?$') -- $labels.store of a rule, store of a panel
        assert.is_true(labels[label], one.where .. ' shows ' .. label)
      end
    end
  end

  it('has a dashboard that names what a scrape has', function()
    local list = of_dashboard()
    assert.is_true(#list > 30)
    check(list)
  end)

  it('has alert rules that name what a scrape has, each with a word for people', function()
    local list = of_rules()
    assert.is_true(#list > 8)
    check(list)
    local page = io.open(root .. '/docs/operations.md'):read('*a')
    for _, rule in ipairs(list) do
      assert.is_string(rule.legend, rule.where)
      assert.matches('^{severity: %l+}$', rule.labels)
      assert.matches('`' .. rule.where .. '`', page, 1, true)
    end
  end)

  it('finds a figure that no scrape has', function()
    assert.has_error(function()
      check({ { where = 'x', expr = 'rate(stores_lost_total[5m])' } })
    end)
    assert.has_error(function()
      check({ { where = 'x', expr = 'sum by (shop) (rate(stores_hits_total[5m]))' } })
    end)
  end)
end)
