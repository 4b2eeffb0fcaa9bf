--- The commands, in the order in which pages tell of them. Each is a module of its own that returns
--- a table: see stores.Command.

---@class stores.Command
---@field name string
---@field summary string one line, without a full stop
---@field text? string what it does, as paragraphs with blank lines between them
---@field describe? fun(parser: table) adds arguments and options to its parser (lua-argparse)
---@field example? string[] command lines, each with `# what it does` behind it where that helps
---@field run fun(args: table, context: stores.CommandContext): integer? nil is 0; 1: it failed
---@field is_local? boolean it never asks where the servers are
---@field any_shard? boolean it may be given one of several shards by itself

---@type string[]
return {
  'stores.command.up',
  'stores.command.down',
  'stores.command.upgrade',
  'stores.command.get',
  'stores.command.find',
  'stores.command.count',
  'stores.command.set',
  'stores.command.delete',
  'stores.command.status',
  'stores.command.import',
  'stores.command.export',
  'stores.command.copy',
  'stores.command.migrate',
  'stores.command.backup',
  'stores.command.restore',
  'stores.command.psql',
  'stores.command.redis',
  'stores.command.cache',
  'stores.command.invalidate',
  'stores.command.sweep',
  'stores.command.why',
  'stores.command.doctor',
  'stores.command.top',
  'stores.command.repl',
  'stores.command.bench',
}
