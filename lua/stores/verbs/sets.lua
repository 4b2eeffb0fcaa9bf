--- The sets of options, in the order in which pages name them. LuaCATS knows each by a class:
--- stores.ReadOptions and so on.
---@type table<string, string[]>
local sets = {
  Read = { 'timeout', 'cache', 'raw', 'must', 'etag', 'if_none_match' },
  ReadInside = { 'timeout', 'cache', 'raw', 'must', 'etag', 'if_none_match', 'lock' },
  Exists = { 'timeout', 'cache' },
  ReadMany = { 'timeout', 'cache', 'raw', 'as' },
  List = { 'timeout', 'raw', 'limit', 'after', 'before', 'order', 'where', 'contains', 'fields',
    'explain' },
  Each = { 'timeout', 'raw', 'batch', 'after', 'order', 'where', 'contains', 'fields' },
  Criteria = { 'timeout', 'raw', 'limit', 'after', 'before', 'order', 'where', 'fields', 'all',
    'explain' },
  Unique = { 'timeout', 'cache', 'raw', 'must', 'unique' },
  One = { 'timeout', 'raw', 'order', 'where', 'fields', 'all', 'must', 'explain' },
  Count = { 'timeout', 'where', 'all', 'explain' },
  Path = { 'timeout', 'raw', 'limit', 'after', 'before', 'order', 'where', 'fields', 'predicate',
    'all', 'explain' },
  Write = { 'timeout', 'cache', 'etag' },
  Replace = { 'timeout', 'cache', 'must', 'if_match', 'etag' },
  Upsert = { 'timeout', 'cache', 'if_match', 'etag' },
  Delete = { 'timeout', 'cache', 'must', 'if_match' },
  Change = { 'timeout', 'cache', 'raw', 'must', 'if_match', 'etag' },
  Update = { 'timeout', 'cache', 'raw', 'must', 'create', 'retries', 'combine' },
  UpdateInside = { 'timeout', 'cache', 'raw', 'must', 'create' },
  Many = { 'timeout', 'where', 'all', 'explain' },
  Query = { 'timeout', 'raw', 'transaction', 'readonly', 'invalidates' },
  QueryInside = { 'timeout', 'raw', 'readonly' },
  Transaction = { 'timeout', 'isolation', 'readonly', 'retries', 'strict' },
  Upgrade = { 'timeout', 'batch', 'pause', 'after' },
  Expire = { 'timeout', 'batch', 'pause' },
  InsertMany = { 'timeout', 'conflict', 'etag', 'batch', 'transaction', 'after', 'progress' },
  UpsertMany = { 'timeout', 'etag', 'batch', 'transaction', 'after', 'progress' },
  DeleteMany = { 'timeout', 'batch', 'transaction', 'after', 'progress' },
  UpdateEach = { 'timeout', 'where', 'all', 'batch', 'pause', 'after', 'progress' },
  Timeout = { 'timeout' },
}

return sets
