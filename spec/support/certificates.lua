--- Certificates of a spec's own, made by openssl in a folder of its own: authorities, and what they
--- say of whom.

local shell = require('spec.support.shell')

local certificates = {}

---@class spec.Authority
---@field folder string
---@field name string
---@field file string its certificate
local Authority = {}
Authority.__index = Authority

local CONFIG = [[
[ca]
default_ca = this
[this]
new_certs_dir = %s
database = %s/index.txt
rand_serial = yes
default_md = sha256
unique_subject = no
policy = any
[any]
commonName = supplied
]]

local function openssl(folder, arguments, ...)
  local command = ('cd "%s" && openssl ' .. arguments .. ' >openssl.log 2>&1'):format(folder, ...)
  local status = os.execute(command)
  if status ~= 0 and status ~= true then
    local log = io.open(folder .. '/openssl.log')
    error(command .. '\n' .. (log and log:read('*a') or ''))
  end
end

--- A folder for them.
---@return string
function certificates.folder() return shell.folder('/tmp') end

--- Makes an authority.
---@param folder string
---@param name string
---@return spec.Authority
function certificates.authority(folder, name)
  local file = folder .. '/' .. name .. '.crt'
  local self = setmetatable({ folder = folder, name = name, file = file }, Authority)
  openssl(folder, 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2'
    .. ' -keyout %s.key -out %s.crt -subj "/CN=the %s authority"'
    .. ' -addext keyUsage=critical,keyCertSign,cRLSign', name, name, name)
  shell.write(('%s/%s.cnf'):format(folder, name), CONFIG:format(folder, folder))
  shell.write(folder .. '/index.txt', '')
  return self
end

--- Issues a certificate: a .crt and a .key beside each other, which replace what was there.
---@param name string of the files, and the common name
---@param names? string as openssl writes them: DNS:localhost,IP:127.0.0.1
---@param days? {from: integer, to: integer} from today
---@return string path without its ending
function Authority:issue(name, names, days)
  local now = os.time()
  local function at(day) return os.date('!%Y%m%d%H%M%SZ', now + day * 86400) end
  shell.write(self.folder .. '/extensions', names and 'subjectAltName=' .. names .. '\n'
    or 'basicConstraints=CA:FALSE\n')
  openssl(self.folder, 'req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout %s.key.new'
    .. ' -out %s.csr -subj /CN=%s', name, name, name)
  openssl(self.folder, 'ca -batch -notext -config %s.cnf -cert %s.crt -keyfile %s.key -in %s.csr'
    .. ' -extfile extensions -startdate %s -enddate %s -out %s.crt.new', self.name, self.name,
    self.name, name, at(days and days.from or -1), at(days and days.to or 2), name)
  for _, ending in ipairs({ '.key', '.crt' }) do
    local path = self.folder .. '/' .. name .. ending
    assert(os.rename(path .. '.new', path))
  end
  return self.folder .. '/' .. name
end

--- The authority's certificate in a folder of its own, as OpenSSL looks for it there.
---@param name string
---@return string
function Authority:hashed(name)
  shell.make(self.folder .. '/' .. name)
  shell.write(('%s/%s/%s.crt'):format(self.folder, name, self.name), shell.read(self.file))
  openssl(self.folder, 'rehash %s', name)
  return self.folder .. '/' .. name
end

--- Encrypts the key of a certificate, in place.
---@param path string without its ending
function certificates.encrypt(path)
  openssl('/tmp', 'pkcs8 -topk8 -in "%s.key" -passout pass:secret -out "%s.enc"', path, path)
  assert(os.rename(path .. '.enc', path .. '.key'))
end

return certificates
