--- The completion of bash, of the same definitions as --help.

local completion = {}

-- What a value may be: one of a few words, a file, a folder, or anything.
local function kind(element)
  local words = element._choices or element.completes
  if words then return 'words:' .. table.concat(words, ' ') end
  local name = type(element._argname) == 'string' and element._argname or ''
  if name == 'FILE' then return 'file' end
  if name == 'DIR' then return 'folder' end
  return 'any'
end

local function names_of(options)
  local names = {}
  for _, option in ipairs(options) do
    if not option._hidden then
      for _, alias in ipairs(option._public_aliases) do names[#names + 1] = alias end
    end
  end
  return table.concat(names, ' ')
end

-- A case that sets `kind` behind each option which takes a value.
local function values(out, options, indent)
  local lines = {}
  for _, option in ipairs(options) do
    if option._maxargs > 0 then
      lines[#lines + 1] = ("%s%s) kind='%s' ;;"):format(indent,
        table.concat(option._public_aliases, '|'), kind(option))
    end
  end
  if #lines == 0 then return end
  out[#out + 1] = indent .. 'case $before in'
  for _, line in ipairs(lines) do out[#out + 1] = line end
  out[#out + 1] = indent .. 'esac'
end

local function add_command(out, command, common)
  out[#out + 1] = ('        %s)'):format(command._name)
  out[#out + 1] = ("            options='%s'"):format(names_of(command._options) .. ' ' .. common)
  local arguments = {}
  for _, argument in ipairs(command._arguments) do
    arguments[#arguments + 1] = ("'%s'"):format(kind(argument))
  end
  out[#out + 1] = ('            arguments=(%s)'):format(table.concat(arguments, ' '))
  values(out, command._options, '            ')
  out[#out + 1] = '            ;;'
end

local HEAD = [[
# bash completion of stores. Written by tools/pages.lua: not to be edited.
_stores() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    local command='' options='' kind='' at=1 given=0
    local arguments=()
    COMPREPLY=()
    # which command, and how many arguments it has before this word
    while [ "$at" -lt "$COMP_CWORD" ]; do
        case ${COMP_WORDS[at]} in
        VALUED) at=$((at + 1)) ;;
        -*) ;;
        *) if [ -z "$command" ]; then command=${COMP_WORDS[at]}; else given=$((given + 1)); fi ;;
        esac
        at=$((at + 1))
    done
    [ "$word" != = ] || word='']]

local TAIL = [[
    esac
    if [ -z "$kind" ]; then
        case $word in
        -*) kind="words:$options" ;;
        *) if [ -z "$command" ]; then kind="words:COMMANDS"; else kind=${arguments[given]}; fi ;;
        esac
    fi
    case $kind in
    words:*) COMPREPLY=($(compgen -W "${kind#words:}" -- "$word")) ;;
    file) compopt -o filenames; COMPREPLY=($(compgen -f -- "$word")) ;;
    folder) compopt -o filenames; COMPREPLY=($(compgen -d -- "$word")) ;;
    esac
}
complete -F _stores stores]]

-- Every option that takes a value, as a pattern of `case`.
local function valued(parser)
  local seen, list = {}, {}
  local function add(options)
    for _, option in ipairs(options) do
      for _, alias in ipairs(option._maxargs > 0 and option._public_aliases or {}) do
        if not seen[alias] then list[#list + 1] = alias end
        seen[alias] = true
      end
    end
  end
  add(parser._options)
  for _, command in ipairs(parser._commands) do add(command._options) end
  table.sort(list)
  return table.concat(list, '|')
end

--- The script.
---@param parser table of all commands
---@return string
function completion.bash(parser)
  local commands = {}
  for at, command in ipairs(parser._commands) do commands[at] = command._name end
  local out = { (HEAD:gsub('VALUED', (valued(parser):gsub('%%', '%%%%')))) }
  values(out, parser._options, '    ')
  out[#out + 1] = '    case $command in'
  local common = names_of(parser._options)
  out[#out + 1] = ("        '') options='%s' ;;"):format(common)
  common = common:gsub('%-h %-%-help ', ''):gsub(' %-%-version', '')
  for _, command in ipairs(parser._commands) do add_command(out, command, common) end
  out[#out + 1] = (TAIL:gsub('COMMANDS', table.concat(commands, ' ')))
  return table.concat(out, '\n') .. '\n'
end

return completion
