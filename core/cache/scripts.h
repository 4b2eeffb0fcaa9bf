/*
 * scripts.h - the moves of the cache protocol, each atomic in Redis (docs/cache.md).
 * allow-oom: a move that takes room away from nobody must work when memory is full, or an intent
 * could not be placed. FILL alone may be refused, and INTENT under on_cache_failure = 'error'.
 *
 * States of a row: absent, V<json>, N, L<token>, T=<entry>, T+<entry>...; an entry has 32 bytes.
 * States of an epoch: absent, V<epoch>, B<epoch>.
 */
#ifndef STORES_CACHE_SCRIPTS_H
#define STORES_CACHE_SCRIPTS_H

/* KEYS epoch, rows; ARGV epoch, token, lease ms. Gives what each row holds now, 'O' where the lease
 * is the caller's; or the epoch's real value where it is not V<epoch>. */
#define STORES__SCRIPT_LEASE                                                                       \
    "#!lua flags=allow-oom\n"                                                                      \
    "local now = redis.call('GET', KEYS[1])\n"                                                     \
    "if now ~= 'V' .. ARGV[1] then return now or '' end\n"                                         \
    "local out = {}\n"                                                                             \
    "for i = 2, #KEYS do\n"                                                                        \
    "  local v = redis.call('GET', KEYS[i])\n"                                                     \
    "  if not v then\n"                                                                            \
    "    redis.call('SET', KEYS[i], 'L' .. ARGV[2], 'PX', ARGV[3])\n"                              \
    "    v = 'O'\n"                                                                                \
    "  end\n"                                                                                      \
    "  out[i - 1] = v\n"                                                                           \
    "end\n"                                                                                        \
    "return out\n"

/* KEYS epoch, rows; ARGV epoch, token, then value and ttl for each row ('' gives the lease back).
 * Gives how many were filled. */
#define STORES__SCRIPT_FILL                                                                        \
    "#!lua\n"                                                                                      \
    "if redis.call('GET', KEYS[1]) ~= 'V' .. ARGV[1] then return 0 end\n"                          \
    "local filled = 0\n"                                                                           \
    "for i = 2, #KEYS do\n"                                                                        \
    "  if redis.call('GET', KEYS[i]) == 'L' .. ARGV[2] then\n"                                     \
    "    if ARGV[2 * i - 1] == '' then\n"                                                          \
    "      redis.call('DEL', KEYS[i])\n"                                                           \
    "    else\n"                                                                                   \
    "      redis.call('SET', KEYS[i], ARGV[2 * i - 1], 'PX', ARGV[2 * i])\n"                       \
    "      filled = filled + 1\n"                                                                  \
    "    end\n"                                                                                    \
    "  end\n"                                                                                      \
    "end\n"                                                                                        \
    "return filled\n"

/* KEYS epoch, rows, the last of which is said; ARGV epoch, entry. Ends with the epoch's real value
 * where it is another. Idempotent. What a row holds comes with the SET that replaces it: a command
 * of a script is a third of what its row costs. The few rows that others write, too, are set once
 * more. */
#define STORES__PLACE(last)                                                                        \
    "local now = redis.call('GET', KEYS[1])\n"                                                     \
    "if now ~= 'V' .. ARGV[1] and now ~= 'B' .. ARGV[1] then return now or '' end\n"               \
    "local e, call = ARGV[2], redis.call\n"                                                        \
    "local clean = 'T=' .. e\n"                                                                    \
    "for i = 2, " last " do\n"                                                                     \
    "  local v, have = call('SET', KEYS[i], clean, 'GET'), false\n"                                \
    "  if v and v ~= clean and string.byte(v) == 84 then\n"                                        \
    "    for o = 3, #v, 32 do have = have or string.sub(v, o, o + 31) == e end\n"                  \
    "    call('SET', KEYS[i], have and v or 'T+' .. string.sub(v, 3) .. e)\n"                      \
    "  end\n"                                                                                      \
    "end\n"

/* Gives 1. */
#define STORES__INTENT STORES__PLACE("#KEYS") "return 1\n"

/* Where memory is full the first one is refused, which says so; the second one takes no word for an
 * answer. */
#define STORES__SCRIPT_INTENT "#!lua\n" STORES__INTENT
#define STORES__SCRIPT_INTENT_FULL "#!lua flags=allow-oom\n" STORES__INTENT

/* KEYS rows; ARGV entry, 'W' (I am the writer, and committed) or 'R', then value and ttl for each
 * row ('' publishes nothing). Gives for each row 0 nothing, 1 others remain, 2 published, 3
 * deleted, 4 what stood there was deleted, for the intent was lost. */
#define STORES__SCRIPT_SETTLE                                                                      \
    "#!lua flags=allow-oom\n"                                                                      \
    "local e, out, call = ARGV[1], {}, redis.call\n"                                               \
    "local clean = 'T=' .. e\n"                                                                    \
    "local rows = #KEYS > 1 and call('MGET', unpack(KEYS)) or {call('GET', KEYS[1])}\n"            \
    "for i = 1, #KEYS do\n"                                                                        \
    "  local k, v, value, r = KEYS[i], rows[i], ARGV[2 * i + 1], 0\n"                              \
    "  if v == clean and value ~= '' then\n"                                                       \
    "    call('SET', k, value, 'PX', ARGV[2 * i + 2]); r = 2\n"                                    \
    "  elseif v and string.byte(v) == 84 then\n"                                                   \
    "    local p\n"                                                                                \
    "    for o = 3, #v, 32 do if string.sub(v, o, o + 31) == e then p = o break end end\n"         \
    "    local rest = p and string.sub(v, 3, p - 1) .. string.sub(v, p + 32)\n"                    \
    "    if rest and rest ~= '' then\n"                                                            \
    "      call('SET', k, 'T+' .. rest); r = 1\n"                                                  \
    "    elseif rest then\n"                                                                       \
    "      call('DEL', k); r = 3\n"                                                                \
    "    end\n"                                                                                    \
    "  elseif v and ARGV[2] == 'W' then\n"                                                         \
    "    call('DEL', k); r = 4\n"                                                                  \
    "  end\n"                                                                                      \
    "  out[i] = r\n"                                                                               \
    "end\n"                                                                                        \
    "return out\n"

/* KEYS epoch; ARGV the value that the caller saw ('' for absent), the new value. Gives what the
 * epoch holds afterwards. Of another owner: the hash of holders (held_scripts.h) is nobody's, too.
 * That is no key of the command, for while a slot goes to another node Redis refuses one that has
 * several, and the hash is mostly not there. */
#define STORES__SCRIPT_EPOCH                                                                       \
    "#!lua flags=allow-oom\n"                                                                      \
    "local now = redis.call('GET', KEYS[1]) or ''\n"                                               \
    "if now ~= ARGV[1] then return now end\n"                                                      \
    "redis.call('SET', KEYS[1], ARGV[2])\n"                                                        \
    "if string.sub(now, 18) ~= string.sub(ARGV[2], 18) then\n"                                     \
    "  redis.pcall('DEL', KEYS[1] .. '" STORES__HELD_KEY "')\n"                                    \
    "end\n"                                                                                        \
    "return ARGV[2]\n"

/* KEYS epoch; ARGV the new value, whatever was there; where there was nothing, nothing is set, for
 * nothing counts then. Gives what the epoch holds afterwards. */
#define STORES__SCRIPT_TURN                                                                        \
    "#!lua flags=allow-oom\n"                                                                      \
    "if not redis.call('SET', KEYS[1], ARGV[1], 'XX') then return '' end\n"                        \
    "return ARGV[1]\n"

#endif
