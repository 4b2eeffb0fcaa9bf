--- Readers of rows.lua: a look at the key, a lease, a SELECT and a FILL.

local ffi = require 'ffi'
local layout = require 'spec.model.rows.layout'

local KEY, KVER, CUR, EX, ACKED = layout.KEY, layout.KVER, layout.CUR, layout.EX, layout.ACKED
local ABSENT, V, N, L, T = layout.ABSENT, layout.V, layout.N, layout.L, layout.T
local W_ENTRY, W_DONE, W_ACKED = layout.W_ENTRY, layout.W_DONE, layout.W_ACKED
local W_UNDONE, W_ZOMBIE, W_OVER = layout.W_UNDONE, layout.W_ZOMBIE, layout.W_OVER
local W_PREPARED, W_LEFT, W_WARNED = layout.W_PREPARED, layout.W_LEFT, layout.W_WARNED
local R_RES, R_KIND, R_TOKEN, R_COPY = layout.R_RES, layout.R_KIND, layout.R_TOKEN, layout.R_COPY
local R_IDLE, R_MISSED, R_LEASED = layout.R_IDLE, layout.R_MISSED, layout.R_LEASED
local R_GOT, R_ANSWERED, R_WAITS = layout.R_GOT, layout.R_ANSWERED, layout.R_WAITS
local R_MEETS, R_EARLY, BLOCK = layout.R_MEETS, layout.R_EARLY, layout.BLOCK
local R_NAMES = layout.R_NAMES

--- Adds them to what the parts of a model have in common.
---@param c table
return function(c)
  local config, m, size, W0, R0, W_LAST = c.config, c.m, c.size, c.W0, c.R0, c.W_LAST
  local R_LAST = c.R_LAST
  local set_key, saw, stale, settle, over = c.set_key, c.saw, c.stale, c.settle, c.over
  local idle = c.idle

  local function looks(s, t, emit, r, who, leasing)
    local key = s[KEY]
    ffi.copy(t, s, size)
    if key == V or key == N then
      saw(t, s[KVER])
      idle(t, r)
      emit(leasing and 'reader: LEASE finds it cached' or key == V and 'reader: GET hits V'
        or 'reader: GET hits N', who,
        stale(s))
    elseif key == L then
      t[r] = R_WAITS
      emit(leasing and 'reader: LEASE finds another lease' or 'reader: GET finds a lease', who)
    elseif key >= T then
      t[r] = R_MEETS
      emit(leasing and 'reader: LEASE finds T' or 'reader: GET finds T', who)
    elseif not leasing then
      t[r] = R_MISSED
      emit('reader: GET finds nothing', who)
    else
      set_key(t, L, 0)
      t[r], t[r + R_TOKEN] = s[r] == R_EARLY and R_ANSWERED or R_LEASED, 1
      if m.lease_again then t[r + R_COPY] = 1 end
      emit('reader: LEASE', who)
    end
  end

  local function selects(s, t, emit, r, who, to)
    ffi.copy(t, s, size)
    t[r], t[r + R_RES], t[r + R_KIND] = to, s[CUR], s[EX]
    if to == R_EARLY then saw(t, s[CUR]) end
    emit('reader: SELECT', who)
  end

  local function fills(s, t, emit, r, who)
    local allowed = s[r + R_TOKEN] == 1
    if m.no_token then allowed = s[KEY] == L end
    if m.no_lease then allowed = m.clean == 'DEL' or s[KEY] == ABSENT or s[KVER] < s[r + R_RES] end
    ffi.copy(t, s, size)
    if allowed then set_key(t, s[r + R_KIND] == 1 and V or N, s[r + R_RES]) end
    idle(t, r)
    emit(not allowed and 'reader: FILL is refused' or s[r + R_KIND] == 1 and 'reader: FILL V'
      or 'reader: FILL N', who)
  end

  local function without_fill(s, t, emit, r, who)
    ffi.copy(t, s, size)
    saw(t, s[CUR])
    idle(t, r)
    emit('reader: SELECT without FILL', who)
  end

  local function resolves(s, t, emit, r, who)
    for w = W0, W_LAST, BLOCK do
      local pc = s[w]
      local is_over = pc == W_DONE or pc == W_ACKED or pc == W_UNDONE or pc == W_OVER
        or m.by_status and (pc == W_PREPARED or pc == W_LEFT or pc == W_WARNED)
        or m.by_abort and pc == W_ZOMBIE
      if s[w + W_ENTRY] == 1 and (is_over or m.by_ttl) then
        ffi.copy(t, s, size)
        settle(t, w, false, false)
        if pc == W_OVER then over(t, w) end
        idle(t, r)
        emit(is_over and 'reader: xid is over, SETTLE for its writer'
          or 'reader: T timed out, SETTLE for its writer', who)
      end
    end
  end

  local function reader(s, t, emit, r, who)
    local pc = s[r]
    if pc == R_IDLE then
      looks(s, t, emit, r, who, false)
      if m.join then
        for o = R0, R_LAST, BLOCK do
          if s[o] == R_GOT then
            ffi.copy(t, s, size)
            emit('reader: joins a read that runs', who,
              s[o + R_RES] < s[ACKED]
                and 'a read returned a version older than one acknowledged before it began' or nil)
          end
        end
      end
    elseif pc == R_MISSED or pc == R_EARLY then
      if m.no_lease then
        selects(s, t, emit, r, who, R_GOT)
      elseif m.select_first and pc == R_MISSED then
        selects(s, t, emit, r, who, R_EARLY)
      else
        looks(s, t, emit, r, who, true)
      end
    elseif pc == R_LEASED then
      selects(s, t, emit, r, who, R_GOT)
    elseif pc == R_GOT then
      ffi.copy(t, s, size)
      saw(t, s[r + R_RES])
      t[r] = R_ANSWERED
      emit('reader: answers its caller', who)
    elseif pc == R_ANSWERED then
      fills(s, t, emit, r, who)
    elseif pc == R_WAITS then
      without_fill(s, t, emit, r, who)
      looks(s, t, emit, r, who, false)
    else
      without_fill(s, t, emit, r, who)
      resolves(s, t, emit, r, who)
    end
    if config.crash and pc ~= R_IDLE then
      ffi.copy(t, s, size)
      idle(t, r)
      emit('reader: dies, ' .. R_NAMES[pc], who)
    end
    if s[r + R_COPY] == 1 and s[KEY] == ABSENT then
      ffi.copy(t, s, size)
      set_key(t, L, 0)
      t[r + R_TOKEN], t[r + R_COPY] = 1, 0
      emit('redis: a late copy of LEASE arrives, of reader', who)
    end
  end

  c.reader = reader
end
