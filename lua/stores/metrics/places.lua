--- Where processes leave their figures for each other: a shared dict of nginx, or a folder. A place
--- has keys() of the processes, get(key), set(key, text), delete(key), lock() and unlock().

local errors = require('stores.errors')
local system = require('stores.local.system')
local wait = require('stores.wait')

local ngx = rawget(_G, 'ngx')

local places = {}

-- Who holds the lock reads a few kilobytes; one that was killed holds it no longer than this.
local LOCK_SECONDS, STEP = 5, 0.002

---@class stores.MetricsDict
local Dict = {}
Dict.__index = Dict

local PROCESS = 'process '

function Dict:keys()
  local list = {}
  for _, key in ipairs(self.dict:get_keys(0)) do
    if key:sub(1, #PROCESS) == PROCESS then list[#list + 1] = key:sub(#PROCESS + 1) end
  end
  return list
end

local function dict_key(key)
  return key == 'departed' and key or PROCESS .. key
end

function Dict:get(key) return self.dict:get(dict_key(key)) end

-- Nothing of another process is pushed out.
function Dict:set(key, text)
  local ok, why = self.dict:safe_set(dict_key(key), text)
  if not ok then errors.raise('internal', 'the lua_shared_dict of the metrics: ' .. why) end
end

function Dict:delete(key) self.dict:delete(dict_key(key)) end

function Dict:lock()
  for _ = 1, LOCK_SECONDS / STEP do
    self.is_held = self.dict:add('lock', true, LOCK_SECONDS)
    if self.is_held or not wait.host.parks() then return end
    ngx.sleep(STEP)
  end
end

function Dict:unlock()
  if self.is_held then self.dict:delete('lock') end
  self.is_held = false
end

---@class stores.MetricsFolder
local Folder = {}
Folder.__index = Folder

local function path(self, key) return ('%s/%s.json'):format(self.folder, key) end

function Folder:keys()
  local list = {}
  for _, name in ipairs(system.list(self.folder) or {}) do
    local key = name:match('^(%d+%-%d+)%.json$')
    if key then list[#list + 1] = key end
  end
  return list
end

function Folder:get(key)
  local file = io.open(path(self, key), 'rb')
  local text = file and file:read('*a')
  if file then file:close() end
  return text
end

local function must(ok, why)
  if not ok then errors.raise('internal', 'the folder of the metrics: ' .. tostring(why)) end
  return ok
end

local function refuse(folder, what, why)
  errors.raise('invalid_option', ("the folder of the metrics, '%s', cannot be %s: %s"):format(
    folder, what, tostring(why)))
end

-- Who tidies up /tmp may take it away.
local function make(folder)
  local is_made, why = system.make_folder(folder)
  if is_made == nil then refuse(folder, 'made', why) end
end

local function open_lock(folder)
  make(folder)
  local lock, why = system.open_lock(folder .. '/lock', system.euid())
  return lock or refuse(folder, 'used', why)
end

-- Who reads sees the old text or the new one.
function Folder:set(key, text)
  make(self.folder)
  local fresh = path(self, key) .. '.new'
  local file = must(io.open(fresh, 'wb'))
  local ok, why = file:write(text)
  local closed, why_not = file:close()
  must(ok, why)
  must(closed, why_not)
  must(os.rename(fresh, path(self, key)))
end

function Folder:delete(key) os.remove(path(self, key)) end

function Folder:lock()
  self.held = open_lock(self.folder)
  for _ = 1, LOCK_SECONDS / STEP do
    if system.lock(self.held, 'exclusive') then return end
    system.sleep(STEP)
  end
end

function Folder:unlock()
  if self.held then system.close_lock(self.held) end
  self.held = nil
end

local made = {}

--- The place that opts.metrics names; the same one each time.
---@param where {dict: string?, folder: string?}
---@return stores.MetricsDict|stores.MetricsFolder
function places.of(where)
  local name = where.dict and 'dict ' .. where.dict or 'folder ' .. where.folder
  if made[name] then return made[name] end
  if where.dict then
    made[name] = setmetatable({ dict = ngx.shared[where.dict] }, Dict)
  else
    system.close_lock(open_lock(where.folder)) -- a file, or what nobody may write to, is none
    made[name] = setmetatable({ folder = where.folder }, Folder)
  end
  return made[name]
end

return places
