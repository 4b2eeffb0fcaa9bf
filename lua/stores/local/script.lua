--- The shell script that starts and stops the pair of servers of a folder. It runs as the user
--- that the servers run as, in a session of its own, with nothing but stderr open.
---
--- After a start one copy of it stays as the parent of the servers and waits for an exclusive lock
--- on `users.lock`, which it gets when the last user is gone, however that user ended; then it
--- stops them. Three locks, all on files of the folder:
---   users.lock       shared: held by each user process. Exclusive: nobody uses the servers.
---   start.lock       exclusive: held while servers are being started or stopped.
---   supervisor.lock  exclusive: held by the copy that waits, so that there is one.

return [==[
set -u
umask 077
mode=$1 folder=$2 sockets=$3 timeout=$4
shift 4
cd -- "$folder" || exit 1

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

# alive NAME PID FOLDER: a number in a file may be another process's by now, so what runs under it
# must be the program, working in that folder (or in one that was removed since).
alive() {
    comm=''
    [ -n "$2" ] && { read -r comm <"/proc/$2/comm"; } 2>/dev/null && [ "$comm" = "$1" ] &&
        { [ ! -e "$3" ] || [ "/proc/$2/cwd" -ef "$3" ]; }
}

# read_line FILE N: sets line to that one of a file, '' where there is none, or to what stands
# behind the last newline. It is asked for again and again while servers start, so no program is
# started for it.
read_line() {
    line='' left=$2
    { while [ "$left" -gt 0 ] && read -r line; do left=$((left - 1)); done <"$1"; } 2>/dev/null
}

postgres_ready() {
    read_line pgdata/postmaster.pid 8
    [ "$line" = ready ]
}

# remove FILE...: likewise where there is none of them.
remove() {
    for file in "$@"; do
        [ ! -e "$file" ] || { rm -f -- "$@"; return; }
    done
}

# until_true SECONDS COMMAND...: polls; false when the time is over.
until_true() {
    turns=$(($1 * 20))
    shift
    while ! "$@"; do
        [ "$turns" -gt 0 ] || return 1
        turns=$((turns - 1))
        sleep 0.05
    done
}

gone() {
    ! alive "$@"
}

# Sets major to the version of the programs in a folder; packages have it in its name.
read_major() {
    major=${1%/bin} major=${major#/usr/lib/postgresql/} major=${major#/usr/pgsql-}
    case $major in
        *[!0-9]*) major=$("$1/postgres" --version 2>/dev/null | sed 's/^[^0-9]*\([0-9]*\).*/\1/') ;;
    esac
}

# Sets bin to these programs, where they are there and fit better than those before.
consider() {
    [ -x "$1/postgres" ] && [ -x "$1/initdb" ] || return
    read_major "$1"
    case " $known " in *" $major "*) ;; *) known="$known $major" ;; esac
    if [ -n "$made_by" ]; then
        [ "$major" != "$made_by" ] || bin=$1
    elif [ "${major:-0}" -gt "$newest" ]; then
        newest=$major bin=$1
    fi
}

# Sets bin to the programs of the major version that made the folder, or of the newest one.
find_postgres() {
    read_line pgdata/PG_VERSION 1
    made_by=$line bin='' newest=0 known=''
    for candidate in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin; do consider "$candidate"; done
    if [ -z "$made_by" ] || [ -z "$bin" ]; then
        consider "$(pg_config --bindir 2>/dev/null)"
        on_path=$(command -v postgres)
        consider "${on_path%/*}"
    fi
    [ -n "$bin" ] && return
    [ -n "$known" ] || fail "no PostgreSQL server is installed (Debian package: postgresql-15)"
    fail "the folder was made by PostgreSQL $made_by; installed is PostgreSQL$known." \
        "Install postgresql-$made_by, and go over with: stores upgrade DIR"
}

# What a program said, from its first complaint on.
complaint() {
    said=$(printf '%s\n' "$1" | sed -n '/FATAL\|PANIC\|ERROR\|rror:\|ould not/,$p' | head -n 6)
    printf '%s' "${said:-$(printf '%s\n' "$1" | tail -n 5)}"
}

# On a full disk a server cannot even write its log.
room() {
    free=$(df -Pk . 2>/dev/null | sed -n '2s/^.* \([0-9][0-9]*\)  *[0-9][0-9]*% .*$/\1/p')
    [ "${free:-1024}" -ge 1024 ] || printf ' (No space left on device: %s kB are free)' "$free"
}

# A folder appears under its name only when it is complete, so a killed initdb leaves no half.
init_postgres() {
    rm -rf pgdata.new
    told=$("$bin/initdb" -D pgdata.new -U postgres -E UTF8 --locale=C.UTF-8 --lc-messages=C \
        --auth-local=trust --auth-host=reject 2>&1) ||
        fail "initdb failed: $(complaint "$told")$(room)"
    cat >>pgdata.new/postgresql.conf <<'CONF' || fail "postgresql.conf cannot be written$(room)"

# Settings of Stores; what is set below them wins.
max_connections = 100
shared_buffers = 64MB
max_wal_size = 512MB
wal_level = minimal
max_wal_senders = 0
jit = off
log_timezone = 'UTC'
timezone = 'UTC'
CONF
    mv pgdata.new pgdata
}

# Backends can outlive a postmaster that was killed, and a new one must not start beside them.
end_orphans() {
    for process in /proc/[0-9]*; do
        alive postgres "${process#/proc/}" pgdata || continue
        kill -QUIT "${process#/proc/}" 2>/dev/null
        until_true 5 gone postgres "${process#/proc/}" pgdata ||
            kill -KILL "${process#/proc/}" 2>/dev/null
    done
}

# A child that ended but was not yet waited for has no cwd.
ended() {
    [ ! -e "/proc/$1/cwd" ]
}

postgres_up_or_gone() {
    postgres_ready || ended "$postgres_pid"
}

start_postgres() {
    read_line pgdata/postmaster.pid 1
    postgres_pid=$line
    if alive postgres "$postgres_pid" pgdata; then
        until_true "$timeout" postgres_up_or_gone
        postgres_ready || fail "PostgreSQL (process $postgres_pid) does not become ready"
        # It still works under the old name, which it was told, and finds less and less there.
        [ -S "$sockets/.s.PGSQL.5432" ] && [ "$(sed -n 2p pgdata/postmaster.pid)" -ef pgdata ] ||
            fail "the folder was moved while its servers ran: end the programs that use it first"
        return
    fi
    find_postgres
    [ -n "$made_by" ] || init_postgres
    if [ -e pgdata/postmaster.pid ]; then
        end_orphans
        # No server is left: a process of its number is another one, and without a number, as a
        # power cut or a full disk leaves the file, PostgreSQL would not start.
        rm -f pgdata/postmaster.pid
    fi
    remove "$sockets/.s.PGSQL.5432" "$sockets/.s.PGSQL.5432.lock"
    before=0
    [ ! -s postgresql.log ] || before=$(wc -c <postgresql.log)
    "$bin/postgres" -D "$folder/pgdata" "$@" >>postgresql.log 2>&1 </dev/null 8>&- &
    postgres_pid=$!
    until_true "$timeout" postgres_up_or_gone
    postgres_ready && return
    kill -INT "$postgres_pid" 2>/dev/null
    said=$(tail -c "+$((before + 1))" postgresql.log | tail -n 8)
    fail "PostgreSQL did not start: $said$(room)"
}

# Whether a process listens on a port, as a Redis does that began with its own defaults.
listens_on_tcp() {
    held=$(ls -l "/proc/$1/fd" 2>/dev/null)
    for inode in $(sed -n \
        's/^ *[^ ]* [^ ]* [^ ]* 0A [^ ]* [^ ]* [^ ]* *[^ ]* *[^ ]* \([0-9]*\) .*/\1/p' \
        /proc/net/tcp /proc/net/tcp6 2>/dev/null); do
        case $held in *"socket:[$inode]"*) return 0 ;; esac
    done
    return 1
}

redis_up_or_gone() {
    [ -S "$sockets/redis.sock" ] || ended "$redis_pid" || redis_is_open
}

# Its port was not asked for.
redis_is_open() {
    [ "$STORES_REDIS_PORT" = 0 ] && listens_on_tcp "$redis_pid"
}

# Sets redis_pid to the one that works in this folder, which the file does not name where the disk
# was full when it was written.
find_redis() {
    read_line redis.pid 1
    for redis_pid in "$line" "${redis_pid:-}"; do
        alive redis-server "$redis_pid" . && return
    done
    [ -e redis.pid ] || return
    for process in /proc/[0-9]*; do
        redis_pid=${process#/proc/}
        alive redis-server "$redis_pid" . && return
    done
    return 1
}

start_redis() {
    if find_redis && [ -S "$sockets/redis.sock" ]; then return; fi
    stop_redis
    command -v redis-server >/dev/null ||
        fail "no Redis server is installed (Debian package: redis-server)"
    remove "$sockets/redis.sock"
    # Not from a file: Redis reads the path of one as a pattern, and begins with its own defaults,
    # open to the network, where the pattern fits nothing. What keeps it in is said in words.
    redis-server - --port "$STORES_REDIS_PORT" --unixsocket "$sockets/redis.sock" \
        >redis.log 2>&1 8>&- <<CONF &
$STORES_REDIS_CONF
CONF
    redis_pid=$!
    printf '%s\n' "$redis_pid" >redis.pid
    sleep 0.02 # before that it never is
    until_true "$timeout" redis_up_or_gone
    if redis_is_open; then
        stop_redis
        fail "Redis listens on a port that nobody asked for, and was stopped"
    fi
    [ -S "$sockets/redis.sock" ] || fail "Redis did not start: $(tail -n 5 redis.log)$(room)"
}

stop_postgres() {
    read_line pgdata/postmaster.pid 1
    pid=${line:-${postgres_pid:-}}
    alive postgres "$pid" pgdata || return 0
    for try in INT:20 QUIT:5 KILL:5; do
        kill -"${try%:*}" "$pid" 2>/dev/null
        until_true "${try#*:}" gone postgres "$pid" pgdata && break
    done
}

stop_redis() {
    if find_redis; then
        for try in TERM:5 KILL:5; do
            kill -"${try%:*}" "$redis_pid" 2>/dev/null
            until_true "${try#*:}" gone redis-server "$redis_pid" . && break
        done
    fi
    remove redis.pid
}

# The folder of the sockets, where it is not the folder itself, is in /tmp: it must be ours alone.
make_sockets() {
    [ "$sockets" = "$folder" ] && return
    mkdir -m 700 -- "$sockets" 2>/dev/null
    [ -d "$sockets" ] && [ ! -L "$sockets" ] && [ -O "$sockets" ] ||
        fail "$sockets, where the sockets should go, belongs to somebody else"
}

stop_all() {
    # Where the folder was removed, nobody else can be at it, and a failed exec ends a shell.
    if [ -e start.lock ]; then
        exec 8>>start.lock
        flock -x 8 || exit 1
    fi
    stop_redis
    stop_postgres
    [ "$sockets" = "$folder" ] || rm -rf -- "$sockets"
    exec 8>&-
}

supervise() {
    exec 9>>supervisor.lock
    # One that stops the servers just now ends at once; one that waits for the last user will do.
    flock -w 1 9 || return 0
    exec 7>>users.lock
    flock -x 7 || return 0
    [ -e keep ] || stop_all
}

# Says ok when both are ready, and closes its output then: that ends the caller's wait.
serve() {
    exec 8>>start.lock
    flock -x 8 || exit 1
    make_sockets
    start_redis
    start_postgres "$@"
    exec 8>&-
    echo ok
    exec >/dev/null 2>&1
    supervise
}

case $mode in
    start) [ "$(serve "$@" &)" = ok ] ;;
    stop) stop_all ;;
esac
]==]
