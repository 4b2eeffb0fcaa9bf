# All the tests, from a bare Debian 12:
#   sh tools/test.sh                        everything: what continuous integration runs
#   sh tools/test.sh --fast                 the plain pass only
#   sh tools/test.sh json_spec.lua          one spec (or several, or by their paths), plain pass
#   sh tools/test.sh spec/base/test_ids.c   one C unit
#   sh tools/test.sh --pass=asan [SPEC...]  one pass: plain, asan, gc or valgrind
#   sh tools/test.sh --seed 7               spec files, and the specs in each, in an order of chance
#   sh tools/test.sh --repeat 5             the specs five times over, each in another such order
#   sh tools/test.sh --busy                 with every core busy with something else
#   sh tools/test.sh --jobs 1               one spec file at a time
#   taskset -c 0 sh tools/test.sh           on one core
# Passes: plain; asan, the same under AddressSanitizer and UndefinedBehaviorSanitizer; gc, the specs
# with the collector running all the time, in the asan pass where that is run, too. Specs tagged
# #slow run in the plain pass alone.
# valgrind, the C units under it, is too slow to be one of those that run by themselves.
#
# Spec files and C units run side by side (tools/specs.lua), each beside a private PostgreSQL and
# Redis that one file has at a time. Ctrl-C ends all of them at once. Specs find them by
# STORES_TEST_DIR (for stores.open), STORES_TEST_PGHOST and STORES_TEST_REDIS_SOCKET.
# STORES_TEST_PASS names the pass, and STORES_TEST_COLLECTS is set where the collector runs all the
# time. The output of each is in build/test-logs.
# The last line is `N passed, N failed`; the status is 0 only where something passed and nothing
# failed.
set -u
root=$(cd "$(dirname "$0")/.." && pwd) || exit 1

usage() {
    echo "usage: sh tools/test.sh [--fast] [--pass=plain|asan|gc|valgrind] [--busy] [--seed N]" \
        "[--repeat N] [--jobs N] [SPEC...]" >&2
    exit 2
}

passes='' specs='' all=yes seed='' repeat=1 busy='' jobs=''
while [ $# -gt 0 ]; do
    case $1 in
        --seed | --repeat | --jobs)
            case ${2:-} in '' | *[!0-9]*) usage ;; esac
            case $1 in --seed) seed=$2 ;; --repeat) repeat=$2 ;; --jobs) jobs=$2 ;; esac
            shift
            ;;
        --busy) busy=yes ;;
        --fast) passes=plain ;;
        --pass=plain | --pass=asan | --pass=gc | --pass=valgrind) passes="$passes ${1#--pass=}" ;;
        -*) usage ;;
        *)
            all=no file=$1
            [ -f "$file" ] || file=$root/$1
            if [ -f "$file" ]; then
                file=$(cd "$(dirname "$file")" && pwd)/${file##*/}
            else # the bare name of files that stand in the folders of rooms
                file=$(find "$root/spec" -name "${1##*/}" -type f)
            fi
            [ -n "$file" ] || { echo "test: there is no file $1" >&2; exit 2; }
            specs="$specs
$file"
            ;;
    esac
    shift
done
if [ -z "$passes" ]; then
    [ $all = yes ] && passes='plain asan gc' || passes=plain
fi

cd "$root" || exit 1
build=$root/build
logs=$build/test-logs
passed=0 failed=0 pending=0
# Two thirds of what a spec does is to wait; with more of them each waits for the others, unless all
# wait for what is to happen: then there may be twice as many.
most=${jobs:-$(($(nproc) * 6))}
[ -n "$jobs" ] || jobs=$(($(nproc) * 3))

# The servers of specs write much that nobody reads: in memory, where there is room.
data=$build/test-data
for left in /dev/shm/stores-test.*; do # of a run that was killed
    [ -e "/proc/${left##*.}" ] || rm -rf "$left" 2>/dev/null
done
room=$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }')
[ "${room:-0}" -lt 4000000 ] || data=/dev/shm/stores-test.$$

stage() {
    now=$(date +%s)
    [ -z "${stage_name:-}" ] || echo "== $stage_name: $((now - stage_began)) s"
    stage_name=$1 stage_began=$now
    [ -z "$stage_name" ] || echo "== $stage_name"
}

spinners='' running=''
finish() {
    status=$?
    trap - EXIT
    trap '' HUP INT TERM
    # shellcheck disable=SC2086
    [ -z "$spinners" ] || kill $spinners 2>/dev/null
    if [ -n "$running" ]; then
        kill -s TERM -- "$running" 2>/dev/null
        wait "${running#-}"
    fi
    for log in "$data"/*/postgresql.log; do
        [ ! -f "$log" ] || cp "$log" "$logs/postgresql-$(basename "$(dirname "$log")").log"
    done
    rm -rf "$data"
    [ $status -eq 0 ] || [ $failed -gt 0 ] || failed=1
    [ $passed -gt 0 ] || [ $failed -gt 0 ] || failed=1
    stage ''
    [ $pending -eq 0 ] || echo "$pending skipped"
    echo "$passed passed, $failed failed"
    [ $failed -eq 0 ] || exit 1
    exit 0
}
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# run_specs PASS...: what was asked for, in those passes.
run_specs() {
    stage "$*"
    set -- $(printf -- '--pass=%s ' "$@") --jobs="$jobs" --most="$most" --logs="$logs" \
        --data="$data"
    [ -z "$seed" ] || set -- "$@" --seed="$seed"
    case " $passes " in *' asan '*) set -- "$@" --build=asan ;; esac
    set -f
    IFS='
'
    # shellcheck disable=SC2086
    set -- "$@" ${specs:-$(find "$root/spec" -name "*_spec.lua" -o -name "test_*.c" | sort)}
    unset IFS
    set +f
    rm -rf "$data"
    mkdir -m 711 "$data" || exit 1
    # In the background, for a shell that waits for something else runs no trap.
    setsid env --default-signal=INT,QUIT setpriv --pdeathsig TERM luajit tools/specs.lua "$@" 8>&- &
    running=$!
    wait $!
    running=''
    # shellcheck disable=SC2046
    set -- $(sed -n 's/^specs: \([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) pending$/\1 \2 \3/p' \
        "$logs/specs.log")
    if [ $# -ne 3 ]; then
        echo "the specs did not finish"
        failed=$((failed + 1))
        return
    fi
    passed=$((passed + $1)) failed=$((failed + $2)) pending=$((pending + $3))
}

build_pass() {
    stage "$1: build"
    shift
    setsid sh tools/build.sh "$@" -DSTORES_TESTS=ON -DSTORES_WERROR=ON 8>&- &
    running=-$! # the compilers, too
    wait $! || exit 1
    running=''
}

stage setup
sh tools/setup.sh test || exit 1
mkdir -p "$logs" || exit 1
exec 8>>"$build/test.lock"
flock -n 8 || { echo "test: another run is under way in this clone" >&2; exit 1; }

build_pass plain "$build" -DSTORES_BROKEN_CACHE=ON
unset STORES_BUILD
STORES_ROOT=$root
. tools/env.sh

if [ -n "$busy" ]; then
    for core in $(seq "$(nproc)"); do
        timeout 7200 sh -c "while :; do :; done" 8>&- &
        spinners="$spinners $!"
    done
fi

[ "$repeat" -eq 1 ] || [ -n "$seed" ] || seed=$(date +%s)
while [ "$repeat" -gt 0 ]; do
    # shellcheck disable=SC2086
    run_specs $passes
    repeat=$((repeat - 1)) seed=${seed:+$((seed + 1))}
done
exit 0
