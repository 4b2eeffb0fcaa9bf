--- The system calls that private servers need: locks on files, sockets, and starting a program
--- that inherits nothing. Linux only, like the rest of stores.local.

local ffi = require('ffi')

ffi.cdef [[
int open(const char *path, int flags, ...);
int close(int fd);
ssize_t read(int fd, void *buf, size_t count);
int flock(int fd, int operation);
int fchown(int fd, unsigned int owner, unsigned int group);
int mkdir(const char *path, unsigned int mode);
int chmod(const char *path, unsigned int mode);
char *realpath(const char *path, char *resolved);
ssize_t readlink(const char *path, char *buf, size_t size);
void free(void *ptr);
int getpid(void);
unsigned int geteuid(void);
int pipe2(int fds[2], int flags);
int socket(int domain, int type, int protocol);
int connect(int fd, const void *address, unsigned int length);
int poll(void *fds, unsigned long count, int timeout);
int waitpid(int pid, int *status, int options);
char *strerror(int errnum);
int isatty(int fd);

struct stores_sockaddr_un { unsigned short family; char path[108]; };

struct stores_passwd { char *name; char *password; unsigned int uid; unsigned int gid; };
struct stores_passwd *getpwnam(const char *name);

struct stores_statx {
  uint32_t mask, blksize; uint64_t attributes; uint32_t nlink, uid, gid; uint16_t mode, pad;
  uint64_t ino, size, blocks, attributes_mask; uint64_t times[8];
  uint32_t rdev_major, rdev_minor, dev_major, dev_minor; uint64_t spare[14];
};
int statx(int dirfd, const char *path, int flags, unsigned int mask, struct stores_statx *out);

void *opendir(const char *path);
int closedir(void *dir);
struct stores_dirent {
  uint64_t ino; int64_t off; unsigned short reclen; uint8_t type; char name[256];
};
struct stores_dirent *readdir64(void *dir);

int posix_spawn(int *pid, const char *path, const void *actions, const void *attributes,
                const char *const argv[], const char *const envp[]);
int posix_spawn_file_actions_init(void *actions);
int posix_spawn_file_actions_destroy(void *actions);
int posix_spawn_file_actions_addopen(void *actions, int fd, const char *path, int flags,
                                     unsigned int mode);
int posix_spawn_file_actions_adddup2(void *actions, int fd, int newfd);
int posix_spawn_file_actions_addclosefrom_np(void *actions, int from);
int posix_spawnattr_init(void *attributes);
int posix_spawnattr_destroy(void *attributes);
int posix_spawnattr_setflags(void *attributes, short flags);
int posix_spawnattr_setsigmask(void *attributes, const void *mask);
int posix_spawnattr_setsigdefault(void *attributes, const void *mask);
int sigemptyset(void *set);
int sigfillset(void *set);
]]

local C = ffi.C
local system = {}

local O_RDWR, O_CREAT, O_CLOEXEC = 2, 64, 524288
local EINTR = 4
local AF_UNIX, SOCK_STREAM, SOCK_CLOEXEC = 1, 1, 524288
local SETSIGDEF, SETSIGMASK, SETSID = 4, 8, 128
local LOCK = { shared = 1, exclusive = 2, none = 8 }
local LOCK_NB = 4

--- The longest path that a unix socket can have.
system.SOCKET_PATH_MAX = 107

--- @return string the text of the last failure
local function reason()
  return ffi.string(C.strerror(ffi.errno()))
end

---@return integer
function system.pid() return C.getpid() end

---@return integer
function system.euid() return tonumber(C.geteuid()) end

---@param fd integer
---@return boolean
function system.is_terminal(fd) return C.isatty(fd) == 1 end

---@param seconds number
function system.sleep(seconds) C.poll(nil, 0, math.ceil(seconds * 1000)) end

---@class stores.local.Stat
---@field kind 'directory'|'other'
---@field mode integer the permission bits
---@field uid integer
---@field gid integer
---@field identity string names the inode: the same after a rename, another for a copy

--- Looks at a path without following a symbolic link at its end.
---@param path string
---@return stores.local.Stat? nil where nothing is there
function system.stat(path)
  local out = ffi.new('struct stores_statx')
  local AT_FDCWD, NOFOLLOW, BASIC_STATS = -100, 0x100, 0x7ff
  if C.statx(AT_FDCWD, path, NOFOLLOW, BASIC_STATS, out) ~= 0 then return nil, reason() end
  local is_directory = bit.band(out.mode, 0xf000) == 0x4000
  return {
    kind = is_directory and 'directory' or 'other',
    mode = bit.band(out.mode, 0xfff),
    uid = tonumber(out.uid),
    gid = tonumber(out.gid),
    identity = ('%x-%x-%x'):format(tonumber(out.dev_major), tonumber(out.dev_minor),
      tonumber(out.ino)),
  }
end

---@param name string
---@return integer? uid
---@return integer? gid
function system.user(name)
  local entry = C.getpwnam(name)
  if entry == nil then return nil end
  return tonumber(entry.uid), tonumber(entry.gid)
end

--- Makes a folder of mode 0700; one that is there already stays as it is.
---@param path string
---@return boolean? made
---@return string? failure
function system.make_folder(path)
  if C.mkdir(path, tonumber('700', 8)) == 0 then return true end
  local why = reason()
  if system.stat(path) then return false end
  return nil, why
end

---@param path string
---@return boolean
function system.make_private(path) return C.chmod(path, tonumber('700', 8)) == 0 end

--- The absolute path without symbolic links.
---@param path string
---@return string?
---@return string? failure
function system.real_path(path)
  local resolved = C.realpath(path, nil)
  if resolved == nil then return nil, reason() end
  local text = ffi.string(resolved)
  C.free(resolved)
  return text
end

--- The names in a folder, without `.` and `..`.
---@param path string
---@return string[]?
---@return string? failure
function system.list(path)
  local dir = C.opendir(path)
  if dir == nil then return nil, reason() end
  local names = {}
  while true do
    local entry = C.readdir64(dir)
    if entry == nil then break end
    local name = ffi.string(entry.name)
    if name ~= '.' and name ~= '..' then names[#names + 1] = name end
  end
  C.closedir(dir)
  return names
end

--- Opens a lock file, making it where it is missing. The descriptor is closed when the returned
--- object is collected, and is not inherited by programs that this process starts.
---@param path string
---@param owner integer uid that a file made by root belongs to
---@return ffi.cdata*? lock
---@return string? failure
function system.open_lock(path, owner)
  local fd = C.open(path, O_RDWR + O_CREAT + O_CLOEXEC, ffi.new('int', tonumber('600', 8)))
  if fd < 0 then return nil, reason() end
  if system.euid() == 0 then C.fchown(fd, owner, 0xffffffff) end
  return ffi.gc(ffi.new('int[1]', fd), function(lock) C.close(lock[0]) end)
end

--- Where the file of a lock is now, also when its folder was moved.
---@param lock ffi.cdata*
---@return string? path
function system.path_of_lock(lock)
  local buffer = ffi.new('char[4096]')
  local length = tonumber(C.readlink(('/proc/self/fd/%d'):format(lock[0]), buffer, 4096))
  return length > 0 and ffi.string(buffer, length) or nil
end

--- Closes a lock, without touching what a forked child or parent holds through the same file.
---@param lock ffi.cdata*
function system.close_lock(lock)
  ffi.gc(lock, nil)
  C.close(lock[0])
end

--- Takes, changes or drops a lock without waiting.
---@param lock ffi.cdata*
---@param kind 'shared'|'exclusive'|'none'
---@return boolean granted where false, nothing is held any more
function system.lock(lock, kind)
  repeat
    if C.flock(lock[0], LOCK[kind] + LOCK_NB) == 0 then return true end
  until ffi.errno() ~= EINTR
  -- A refused change may or may not have dropped what was held before: make it certain.
  C.flock(lock[0], LOCK.none)
  return false
end

--- Whether a server listens on a unix socket.
---@param path string
---@return boolean
function system.answers(path)
  if #path > system.SOCKET_PATH_MAX then return false end
  local fd = C.socket(AF_UNIX, SOCK_STREAM + SOCK_CLOEXEC, 0)
  if fd < 0 then return false end
  local address = ffi.new('struct stores_sockaddr_un')
  address.family = AF_UNIX
  ffi.copy(address.path, path, #path)
  local connected = C.connect(fd, address, ffi.sizeof(address)) == 0
  C.close(fd)
  return connected
end

--- A NULL-terminated array; the strings stay the list's.
local function strings(list)
  local array = ffi.new('const char *[?]', #list + 1)
  for i, text in ipairs(list) do array[i - 1] = text end
  return array
end

--- Everything that fd gives until its end.
local function read_all(fd)
  local buffer, parts = ffi.new('char[4096]'), {}
  while true do
    local got = tonumber(C.read(fd, buffer, 4096))
    if got > 0 then
      parts[#parts + 1] = ffi.string(buffer, got)
    elseif got == 0 or ffi.errno() ~= EINTR then
      return table.concat(parts)
    end
  end
end

--- Keeps this process's open files away from the program: it gets stdin, stdout and stderr alone.
local function file_actions(stderr)
  local actions = ffi.new('uint64_t[64]')
  C.posix_spawn_file_actions_init(actions)
  C.posix_spawn_file_actions_addopen(actions, 0, '/dev/null', 0, 0)
  C.posix_spawn_file_actions_adddup2(actions, stderr, 2)
  C.posix_spawn_file_actions_addopen(actions, 1, '/dev/null', 1, 0)
  C.posix_spawn_file_actions_addclosefrom_np(actions, 3)
  return actions
end

--- A session of its own, so that a terminal's Ctrl-C does not reach it, and signals as usual.
local function spawn_attributes()
  local attributes, set = ffi.new('uint64_t[128]'), ffi.new('uint64_t[16]')
  C.posix_spawnattr_init(attributes)
  C.posix_spawnattr_setflags(attributes, SETSID + SETSIGMASK + SETSIGDEF)
  C.sigemptyset(set)
  C.posix_spawnattr_setsigmask(attributes, set)
  C.sigfillset(set)
  C.posix_spawnattr_setsigdefault(attributes, set)
  return attributes
end

--- Runs a program to its end. What it leaves in the background must have let go of stderr.
---@param argv string[] argv[1] is an absolute path
---@param env string[] the whole environment
---@return integer? status its exit status; nil where that cannot be known
---@return string text what it wrote to stderr, or why it could not be started
function system.run(argv, env)
  local fds = ffi.new('int[2]')
  if C.pipe2(fds, O_CLOEXEC) ~= 0 then return 127, reason() end
  local actions, attributes = file_actions(fds[1]), spawn_attributes()
  local pid = ffi.new('int[1]')
  local failure = C.posix_spawn(pid, argv[1], actions, attributes, strings(argv), strings(env))
  C.posix_spawn_file_actions_destroy(actions)
  C.posix_spawnattr_destroy(attributes)
  C.close(fds[1])
  local text = failure == 0 and read_all(fds[0]) or ffi.string(C.strerror(failure))
  C.close(fds[0])
  if failure ~= 0 then return 127, text end

  local status = ffi.new('int[1]')
  repeat
    local waited = C.waitpid(pid[0], status, 0)
    if waited == pid[0] then
      local signal = bit.band(status[0], 0x7f)
      return signal ~= 0 and 128 + signal or bit.band(bit.rshift(status[0], 8), 0xff), text
    end
  until ffi.errno() ~= EINTR
  return nil, text -- the host ignores SIGCHLD
end

return system
