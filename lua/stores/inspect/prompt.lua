--- Lines that somebody types: by readline, or what looks like it, where the machine has one
--- (libreadline, libedit), with history and completion; without one, and where nobody types, plain
--- lines of stdin.

local ffi = require('ffi')

local system = require('stores.local.system')

-- As both libraries have them.
ffi.cdef [[
char *readline(const char *prompt);
void add_history(const char *line);
void using_history(void);
int read_history(const char *path);
int write_history(const char *path);
void stifle_history(int most);
typedef char *stores_completion(const char *text, int state);
typedef char **stores_completions(const char *text, int start, int end);
char **rl_completion_matches(const char *text, stores_completion *fn);
extern stores_completions *rl_attempted_completion_function;
extern int rl_attempted_completion_over;
extern int rl_completion_append_character;
extern const char *rl_completer_word_break_characters;
extern const char *rl_readline_name;
int rl_initialize(void);
int rl_parse_and_bind(char *line);
extern const char *rl_library_version;
char *strdup(const char *text);
unsigned int umask(unsigned int mask);
struct stores_termios {
  unsigned int input, output, control, modes;
  unsigned char line, keys[32];
  unsigned int speeds[2];
};
int tcgetattr(int fd, struct stores_termios *out);
int tcsetattr(int fd, int when, const struct stores_termios *to);
]]

local prompt = {}

local LIBRARIES = { 'libreadline.so.8', 'libreadline.so.7', 'libedit.so.2', 'libedit.so.0' }
local BREAKS = ' \t\n\\`@$><=;|&{}()[],+-*/%^#~'
local HISTORY_MOST = 1000
-- What Ctrl-C does to the line, in the words of each.
local CLEARS = { read = '"\\C-c": kill-whole-line', edit = 'bind "^C" em-kill-line' }

---@class stores.Prompt
---@field read fun(self: stores.Prompt, text: string): string? a line without its end; nil: there
--- are no more
---@field close fun(self: stores.Prompt)
local Plain = {}
Plain.__index = Plain

function Plain:read(text)
  if self.shows then
    io.stdout:write(text)
    io.stdout:flush()
  end
  return io.stdin:read('*l')
end

function Plain:close()
  if self.shows then io.stdout:write('\n') end
end

local Typed = {}
Typed.__index = Typed

local VINTR, NONE = 0, 0 -- the key that interrupts, of keys; no key

-- Runs fn while Ctrl-C is a key like others: it clears the line, and ends nothing. As a signal it
-- would be raised by whatever Lua runs next, which is what completes a word, called by C.
local function with_plain_keys(fn, ...)
  local before, now = ffi.new('struct stores_termios'), ffi.new('struct stores_termios')
  if ffi.C.tcgetattr(0, before) ~= 0 then return fn(...) end
  ffi.copy(now, before, ffi.sizeof(before))
  now.keys[VINTR] = NONE
  ffi.C.tcsetattr(0, 0, now)
  local line = fn(...)
  ffi.C.tcsetattr(0, 0, before)
  return line
end

-- A line is read by C, which calls back for what completes a word: no compiled code may call it.
local function read_line(library, text)
  local line = library.readline(text)
  if line == nil then return nil end
  local typed = ffi.string(line)
  ffi.C.free(line)
  return typed
end
jit.off(read_line)

function Typed:read(text)
  io.stdout:flush()
  local line = with_plain_keys(read_line, self.library, text)
  if line and line:find('%S') and line ~= self.last then
    self.library.add_history(line)
    self.last = line
  end
  return line
end

-- What was typed may have documents in it: the file is its owner's alone.
function Typed:close()
  if self.history then
    local before = ffi.C.umask(tonumber('77', 8))
    self.library.write_history(self.history)
    ffi.C.umask(before)
  end
  self.library.rl_attempted_completion_function = nil
  self.on_tab:free()
  self.on_word:free()
end

local function load_library()
  for _, name in ipairs(LIBRARIES) do
    local ok, library = pcall(ffi.load, name)
    -- one that lacks a function is another one
    if ok and pcall(function() return library.readline, library.rl_completion_matches end) then
      return library
    end
  end
end

-- Has a function that gives the completions of a word be asked by the library.
local function complete_by(self, complete)
  local found, words = nil, {}
  self.on_word = ffi.cast('stores_completion *', function(_, state)
    if state == 0 then found = 0 end
    found = found + 1
    return words[found] and ffi.C.strdup(words[found]) or nil
  end)
  self.on_tab = ffi.cast('stores_completions *', function(text, start)
    self.library.rl_attempted_completion_over = 1 -- no names of files
    self.library.rl_completion_append_character = 0
    local ok, list = pcall(complete, ffi.string(text), start)
    words = ok and list or {}
    return self.library.rl_completion_matches(text, self.on_word)
  end)
  self.library.rl_attempted_completion_function = self.on_tab
end

local function typed(library, opts)
  local self = setmetatable({ library = library, history = opts.history }, Typed)
  self.breaks, self.name = BREAKS, 'stores' -- which the library points to
  library.rl_completer_word_break_characters, library.rl_readline_name = self.breaks, self.name
  library.rl_initialize()
  local is_edit = ffi.string(library.rl_library_version):find('EditLine', 1, true)
  local clears = is_edit and CLEARS.edit or CLEARS.read
  library.rl_parse_and_bind(ffi.new('char[?]', #clears + 1, clears)) -- which it writes to
  library.using_history()
  library.stifle_history(HISTORY_MOST)
  if opts.history then library.read_history(opts.history) end
  complete_by(self, opts.complete or function() return {} end)
  return self
end

--- Something to read lines from.
---@param opts {complete: (fun(word: string, start: integer): string[])?, history: string?,
--- plain: boolean?} history: a file; plain: no library
---@return stores.Prompt
function prompt.new(opts)
  local is_typed = system.is_terminal(0) and system.is_terminal(1)
  local library = is_typed and not opts.plain and load_library()
  if library then return typed(library, opts) end
  return setmetatable({ shows = is_typed }, Plain)
end

return prompt
