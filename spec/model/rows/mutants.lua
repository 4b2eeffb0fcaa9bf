--- What each mutant of rows.lua changes. `needs`: the least set of ingredients, and bounds, in
--- which it shows.
return {
  ['delete after commit'] = { no_intent = true, no_lease = true, clean = 'DEL', needs = {} },
  ['leases, but delete after commit'] = { no_intent = true, clean = 'DEL', needs = {} },
  ['version compare-and-set, with eviction'] = { no_intent = true, no_lease = true, clean = 'CAS',
    needs = { evict = true } },
  ['publish though dirty'] = { publish_dirty = true, needs = {} },
  ['join a running read'] = { join = true, needs = {} },
  ['plain DEL to invalidate'] = { plain_del = true, needs = { outside = true } },
  ['intent for a row that was not written'] = { intent_anyway = true, needs = { deletes = true } },
  ['fill without a token'] = { no_token = true, needs = { evict = true } },
  ['settle leaves V when the intent was lost'] = { settle_leaves = true, needs = { admin = true } },
  ['resolve by TTL instead of xid'] = { by_ttl = true, needs = {} },
  -- Not in the design's list; found, or thought of, while modelling it.
  ['publish after INTENT was sent twice'] = { publish_repeated = true,
    needs = { again = true, commits = 2 } },
  ['publish what a savepoint undid'] = { publish_undone = true, needs = { savepoint = true } },
  ['LEASE sent twice with one token'] = { lease_again = true, needs = { evict = true } },
  ['SELECT before LEASE'] = { select_first = true, needs = { } },
  -- Of several servers.
  ['believe that the coordinator has committed'] = { by_status = true, needs = { workers = true } },
  ['believe that the coordinator has aborted'] = { by_abort = true,
    needs = { workers = true, crash = true } },
  ['publish what was acknowledged with a warning'] = { settle_warned = true,
    needs = { workers = true } },
  ['delete what was acknowledged with a warning'] = { settle_warned = true, no_publish = true,
    needs = { workers = true } },
  ['settle where COMMIT failed on the way to another server'] = { settle_failed = true,
    needs = { workers = true } },
}
