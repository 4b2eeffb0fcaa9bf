/*
 * held_scripts.h - the moves of held reads, each atomic in Redis (docs/held.md, "How it works").
 *
 * The hash of holders, <prefix>{<table>}/held: nonce (16 random characters, of this hash), seq, for
 * each holder its id with the seq that it has acked, '?' in a new hash: holders that nobody knows
 * of, with the length of their leases in ms, negative (-1, of older processes: 1000), and '!', a
 * line for each channel of writers that wait, and for each message for which they do: '#<seq> <how
 * many fields have not acked it>'. The channel of the holders has the name of the hash. The owner
 * of an epoch is what follows its 16 random characters: the run of Redis, and the past of the
 * database.
 */
#ifndef STORES_CACHE_HELD_SCRIPTS_H
#define STORES_CACHE_HELD_SCRIPTS_H

#include "cache/scripts.h"

/* How long a holder's leases are, in ms: its id tells where that is not a second; '?' tells of the
 * longest that those may have who nobody knows of. */
#define STORES__LEASE_OF                                                                           \
    "local function lease_of(field, acked)\n"                                                      \
    "  if field == '?' then return math.max(-acked, 1000) end\n"                                   \
    "  return tonumber(string.match(field, '/(%d+)$') or 1000)\n"                                  \
    "end\n"

/* What '!' is from now on: how many have not acked a message for which a writer waits is counted
 * anew, for some may have gone. Of many messages the last ones are one: who has acked the newest
 * has acked those before it, and each line costs every move something. */
#define STORES__WAITING_MOST "8"
#define STORES__WAITING                                                                            \
    "local function left(acks, seq)\n"                                                             \
    "  local count = 0\n"                                                                          \
    "  for i = 1, #acks do if acks[i] < seq then count = count + 1 end end\n"                      \
    "  return count > 0 and '#' .. seq .. ' ' .. count .. '\\n' or ''\n"                           \
    "end\n"                                                                                        \
    "local function waiting(waits, to, seq, acks)\n"                                               \
    "  local lines = 0\n"                                                                          \
    "  waits = string.gsub(waits, '#(%d+) %d+\\n', function(of)\n"                                 \
    "    lines = lines + 1\n"                                                                      \
    "    return lines < " STORES__WAITING_MOST " and left(acks, of + 0) or ''\n"                   \
    "  end)\n"                                                                                     \
    "  if not string.find(waits, to, 1, true) then waits = waits .. to .. '\\n' end\n"             \
    "  return waits .. left(acks, seq)\n"                                                          \
    "end\n"

/* A change is counted in the hash, and told. what: ' id id..' or ' *'; own: the field of the
 * process that asks, '' where it has none; fresh: 16 random characters where the table is marked,
 * '' where that is not known; to: where that process hears that all have acked, or ''; lease: how
 * long leases are at most that nobody knows of, nil where there can be none. ' .' ends the message
 * of who waits for leases of any length. Gives 1 where there is no hash and none is made (a GET, to
 * which a hash is an error, is what every user may do), or it is not on this node while the slot
 * goes to another one: PostgreSQL is asked then; else {nonce, seq, the least that any other field
 * has acked, the longest lease of theirs}. */
#define STORES__TELL                                                                               \
    STORES__LEASE_OF STORES__WAITING                                                               \
        "local function tell(key, what, own, fresh, to, lease)\n"                                  \
        "  if fresh == '' then\n"                                                                  \
        "    local is = redis.pcall('GET', key)\n"                                                 \
        "    if not is or string.find(is.err or '', 'non local key', 1, true) then return 1 end\n" \
        "  end\n"                                                                                  \
        "  local h = redis.call('HGETALL', key)\n"                                                 \
        "  if #h == 0 then\n"                                                                      \
        "    if fresh == '' then return 1 end\n"                                                   \
        "    redis.call('HSET', key, 'nonce', fresh, 'seq', '1')\n"                                \
        "    if not lease then return {fresh, 1, 1, 0} end\n"                                      \
        "    redis.call('HSET', key, '?', -lease)\n"                                               \
        "    return {fresh, 1, -1, lease + 0}\n"                                                   \
        "  end\n"                                                                                  \
        "  local nonce, seq, low, any, waits\n"                                                    \
        "  local longest, acks = 0, {}\n"                                                          \
        "  for i = 1, #h, 2 do\n"                                                                  \
        "    local field, value = h[i], h[i + 1]\n"                                                \
        "    if field == 'nonce' then nonce = value\n"                                             \
        "    elseif field == 'seq' then seq = value + 1\n"                                         \
        "    elseif field == '!' then waits = value\n"                                             \
        "    else\n"                                                                               \
        "      any = true\n"                                                                       \
        "      acks[#acks + 1] = value + 0\n"                                                      \
        "      if field ~= own then\n"                                                             \
        "        if not low or value + 0 < low then low = value + 0 end\n"                         \
        "        longest = math.max(longest, lease_of(field, value))\n"                            \
        "      end\n"                                                                              \
        "    end\n"                                                                                \
        "  end\n"                                                                                  \
        "  redis.call('HSET', key, 'seq', seq)\n"                                                  \
        "  if low and low < seq and to ~= '' then\n"                                               \
        "    redis.call('HSET', key, '!', waiting(waits or '', to, seq, acks))\n"                  \
        "  end\n"                                                                                  \
        "  if any then redis.pcall('PUBLISH', key, nonce .. ' ' .. seq .. what .. ' .') end\n"     \
        "  return {nonce, seq, low or seq, longest}\n"                                             \
        "end\n"

/* INTENT of a marked table. KEYS epoch, rows, held; ARGV epoch, entry, own, fresh, to,
 * lease. */
#define STORES__INTENT_HELD                                                                        \
    STORES__TELL STORES__PLACE(                                                                    \
        "#KEYS - 1") "local ids = {}\n"                                                            \
                     "for i = 2, #KEYS - 1 do ids[i - 1] = string.match(KEYS[i], '/(%-?%d+)$') "   \
                     "end\n"                                                                       \
                     "return tell(KEYS[#KEYS], ' ' .. table.concat(ids, ' '), ARGV[3], ARGV[4], "  \
                     "ARGV[5], ARGV[6])\n"

#define STORES__SCRIPT_INTENT_HELD "#!lua\n" STORES__INTENT_HELD
#define STORES__SCRIPT_INTENT_HELD_FULL "#!lua flags=allow-oom\n" STORES__INTENT_HELD

/* INVALIDATE, after a write that is over; also of a table of which nobody knows whether it is
 * marked. KEYS epoch, row (as in EPOCH the hash is none); ARGV epoch, own, fresh, to, lease. A
 * plain DEL would destroy the intent of a writer; under another epoch than the present one it
 * would clear a key that nobody reads. Gives what tell gives, or the epoch's real value. */
#define STORES__SCRIPT_INVALIDATE_HELD                                                             \
    "#!lua flags=allow-oom\n" STORES__TELL "local now = redis.call('GET', KEYS[1])\n"              \
    "if now ~= 'V' .. ARGV[1] and now ~= 'B' .. ARGV[1] then return now or '' end\n"               \
    "local v = redis.call('GET', KEYS[2])\n"                                                       \
    "if v and string.byte(v) == 84 then\n"                                                         \
    "  redis.call('SET', KEYS[2], 'T+' .. string.sub(v, 3))\n"                                     \
    "elseif v then\n"                                                                              \
    "  redis.call('DEL', KEYS[2])\n"                                                               \
    "end\n"                                                                                        \
    "return tell(KEYS[1] .. '" STORES__HELD_KEY                                                    \
    "', ' ' .. string.match(KEYS[2], '/(%-?%d+)$'), ARGV[2], ARGV[3], ARGV[4], ARGV[5])\n"

/* TURN, likewise. KEYS epoch; ARGV the new value, own, fresh, to, lease, '1' where this is of the
 * first mark, so that nobody had a lease under this past of the database and this run of Redis. An
 * epoch of another owner, or none: the hash is nobody's either. Gives '' where there was nothing
 * and nothing is set, for nothing counts, and nobody says that the table is marked. */
#define STORES__SCRIPT_TURN_HELD                                                                   \
    "#!lua flags=allow-oom\n" STORES__TELL "local held, lease = KEYS[1] .. '" STORES__HELD_KEY     \
    "', ARGV[5]\n"                                                                                 \
    "local old = redis.call('GET', KEYS[1])\n"                                                     \
    "if not old or string.sub(old, 18) ~= string.sub(ARGV[1], 18) then\n"                          \
    "  redis.pcall('DEL', held)\n"                                                                 \
    "elseif ARGV[6] == '1' then\n"                                                                 \
    "  lease = nil\n"                                                                              \
    "end\n"                                                                                        \
    "if not old and ARGV[3] == '' then return '' end\n"                                            \
    "redis.call('SET', KEYS[1], ARGV[1])\n"                                                        \
    "return tell(held, ' *', ARGV[2], ARGV[3], ARGV[4], lease)\n"

/* A holder acks, of which h has nonce, seq, its field and '!': it counts itself out of those whom
 * writers wait for. The last one says so to all of them. Those that went, or were taken out, say
 * nothing, nor do older processes, which do not count: who waits asks, too. */
#define STORES__ACKS                                                                               \
    "local function ack(key, id, acked, h)\n"                                                      \
    "  local seen = acked + 0\n"                                                                   \
    "  local said, before = nil, h[3] and h[3] + 0 or seen\n"                                      \
    "  local waits, found = string.gsub(h[4] or '', '#(%d+) (%d+)\\n', function(of, count)\n"      \
    "    if of + 0 <= before or of + 0 > seen then return nil end\n"                               \
    "    if count ~= '1' then return '#' .. of .. ' ' .. count - 1 .. '\\n' end\n"                 \
    "    said = math.max(said or 0, of + 0)\n"                                                     \
    "    return ''\n"                                                                              \
    "  end)\n"                                                                                     \
    "  if found == 0 or before >= seen then\n"                                                     \
    "    redis.call('HSET', key, id, acked)\n"                                                     \
    "  elseif said and not string.find(waits, '#%d+ %d+\\n') then\n"                               \
    "    redis.call('HSET', key, id, acked)\n"                                                     \
    "    redis.call('HDEL', key, '!')\n"                                                           \
    "  else\n"                                                                                     \
    "    redis.call('HSET', key, id, acked, '!', waits)\n"                                         \
    "  end\n"                                                                                      \
    "  if not said then return end\n"                                                              \
    "  for to in string.gmatch(waits, '[^\\n]+') do\n"                                             \
    "    if not string.find(to, '^#%d+ %d+$') then\n"                                              \
    "      redis.pcall('PUBLISH', to, h[1] .. ' ' .. said)\n"                                      \
    "    end\n"                                                                                    \
    "  end\n"                                                                                      \
    "end\n"

/* HOLD: learns, acks and leases. KEYS epoch, held; ARGV owner, id, nonce ('' where none is known),
 * seen, fresh, the epoch under which the mark is known, lease: how long leases are at most, as it
 * says. Gives {nonce, seq, how long the leases are that '?' stands for, 0 where it is not there,
 * what the holder had acked before, -1 where it is not known}; the lease is granted where nonce and
 * seq are those that were sent. Or the epoch's real value where it is not of this owner, or where a
 * hash is to be made and the mark is not known under it. */
#define STORES__SCRIPT_HOLD                                                                        \
    "#!lua\n" STORES__LEASE_OF STORES__ACKS "local now = redis.call('GET', KEYS[1])\n"             \
    "if not now or string.sub(now, 18) ~= ARGV[1] then return now or '' end\n"                     \
    "local h = redis.call('HMGET', KEYS[2], 'nonce', 'seq', ARGV[2], '!', '?')\n"                  \
    "if not h[1] then\n"                                                                           \
    "  if string.sub(now, 2) ~= ARGV[6] then return now end\n"                                     \
    "  redis.call('HSET', KEYS[2], 'nonce', ARGV[5], 'seq', '0', '?', -ARGV[7])\n"                 \
    "  return {ARGV[5], 0, ARGV[7] + 0, -1}\n"                                                     \
    "end\n"                                                                                        \
    "local seen, seq = ARGV[4] + 0, h[2] + 0\n"                                                    \
    "if h[1] == ARGV[3] and (seq == seen or h[3] and h[3] + 0 < seen and seen < seq) then\n"       \
    "  ack(KEYS[2], ARGV[2], ARGV[4], h)\n"                                                        \
    "end\n"                                                                                        \
    "return {h[1], seq, h[5] and lease_of('?', h[5]) or 0, h[3] and h[3] + 0 or -1}\n"

/* ACK: the part of HOLD that acks, of who is in the hash, for whom nothing is answered; a late copy
 * puts nobody in who has left. KEYS epoch, held; ARGV owner, id, nonce, seen. */
#define STORES__SCRIPT_ACK                                                                         \
    "#!lua\n" STORES__ACKS "local now = redis.call('GET', KEYS[1])\n"                              \
    "if not now or string.sub(now, 18) ~= ARGV[1] then return 0 end\n"                             \
    "local h = redis.call('HMGET', KEYS[2], 'nonce', 'seq', ARGV[2], '!')\n"                       \
    "local seen = ARGV[4] + 0\n"                                                                   \
    "if h[1] ~= ARGV[3] or not h[3] or h[3] + 0 >= seen or seen > h[2] + 0 then return 0 end\n"    \
    "ack(KEYS[2], ARGV[2], ARGV[4], h)\n"                                                          \
    "return 1\n"

/* ACKED: what a writer that waits asks. KEYS epoch, held; ARGV owner, nonce, own, its seq. Gives
 * {the least that any other field has acked, the longest lease of those who have not acked that
 * much}, or -2 where this is not the hash that it met. */
#define STORES__SCRIPT_ACKED                                                                       \
    "#!lua flags=allow-oom\n" STORES__LEASE_OF "local now = redis.call('GET', KEYS[1])\n"          \
    "if not now or string.sub(now, 18) ~= ARGV[1] then return -2 end\n"                            \
    "local h, low, seq, nonce = redis.call('HGETALL', KEYS[2])\n"                                  \
    "local longest = 0\n"                                                                          \
    "for i = 1, #h, 2 do\n"                                                                        \
    "  local field, value = h[i], h[i + 1]\n"                                                      \
    "  if field == 'nonce' then nonce = value\n"                                                   \
    "  elseif field == 'seq' then seq = value + 0\n"                                               \
    "  elseif field ~= '!' and field ~= ARGV[3] then\n"                                            \
    "    if not low or value + 0 < low then low = value + 0 end\n"                                 \
    "    if value + 0 < ARGV[4] + 0 then longest = math.max(longest, lease_of(field, value)) "     \
    "end\n"                                                                                        \
    "  end\n"                                                                                      \
    "end\n"                                                                                        \
    "if nonce ~= ARGV[2] then return -2 end\n"                                                     \
    "return {low or seq, longest}\n"

/* EVICT, a lease after the answer that gave nonce and seq. KEYS held; ARGV nonce, seq, own. Takes
 * out who has not acked that much, save itself, whose lease may be longer; gives whom, ' ' between
 * them. */
#define STORES__SCRIPT_EVICT                                                                       \
    "#!lua flags=allow-oom\n"                                                                      \
    "if redis.call('HGET', KEYS[1], 'nonce') ~= ARGV[1] then return '' end\n"                      \
    "local h, out = redis.call('HGETALL', KEYS[1]), {}\n"                                          \
    "for i = 1, #h, 2 do\n"                                                                        \
    "  local field, value = h[i], h[i + 1]\n"                                                      \
    "  local holder = field ~= 'nonce' and field ~= 'seq' and field ~= '!' and field ~= ARGV[3]\n" \
    "  if holder and value + 0 < ARGV[2] + 0 then\n"                                               \
    "    redis.call('HDEL', KEYS[1], field)\n"                                                     \
    "    out[#out + 1] = field\n"                                                                  \
    "  end\n"                                                                                      \
    "end\n"                                                                                        \
    "return table.concat(out, ' ')\n"

/* How long rows that were hit may stay. KEYS rows. Gives their PTTLs. */
#define STORES__SCRIPT_LIVES                                                                       \
    "#!lua flags=no-writes\n"                                                                      \
    "local out = {}\n"                                                                             \
    "for i = 1, #KEYS do out[i] = redis.call('PTTL', KEYS[i]) end\n"                               \
    "return out\n"

#endif
