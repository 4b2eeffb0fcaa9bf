# All the tests, from a bare Debian 12:
#   sh tools/test.sh                        everything: what continuous integration runs
#   sh tools/test.sh --fast                 the plain pass only
#   sh tools/test.sh spec/json_spec.lua     one spec (or several), plain pass
#   sh tools/test.sh spec/unit/test_ids.c   one C unit
#   sh tools/test.sh --pass=asan [SPEC...]  one pass: plain, asan, gc or valgrind
#   sh tools/test.sh --seed 7               spec files, and the specs in each, in an order of chance
#   sh tools/test.sh --repeat 5             the specs five times over, each in another such order
#   sh tools/test.sh --busy                 with every core busy with something else
#   sh tools/test.sh --jobs 1               one spec file at a time
#   taskset -c 0 sh tools/test.sh           on one core
# Passes: plain; asan, the same under AddressSanitizer and UndefinedBehaviorSanitizer; gc, the specs
# with the collector running all the time. Specs tagged #slow run in the plain pass alone.
# valgrind, the C units under it, is too slow to be one of those that run by themselves.
#
# Spec files run side by side (tools/specs.lua), each beside a private PostgreSQL and Redis that one
# file has at a time. Specs find them by STORES_TEST_DIR (for stores.open), STORES_TEST_PGHOST and
# STORES_TEST_REDIS_SOCKET. STORES_TEST_PASS names the pass. The output of each is in
# build/test-logs.
# The last line is `N passed, N failed`; the status is 0 only where something passed and nothing
# failed.
set -u
root=$(cd "$(dirname "$0")/.." && pwd) || exit 1

usage() {
    echo "usage: sh tools/test.sh [--fast] [--pass=plain|asan|gc|valgrind] [--busy] [--seed N]" \
        "[--repeat N] [--jobs N] [SPEC...]" >&2
    exit 2
}

passes='' specs='' units='' all=yes seed='' repeat=1 busy='' jobs=''
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
            [ -f "$file" ] || file=$root/$file
            [ -f "$file" ] || { echo "test: there is no file ${file#"$root/"}" >&2; exit 2; }
            case $file in
                *.c) file=${file##*/} units="$units|^${file%.c}\$" ;;
                *) specs="$specs
$(cd "$(dirname "$file")" && pwd)/${file##*/}" ;;
            esac
            ;;
    esac
    shift
done
if [ -z "$passes" ]; then
    [ $all = yes ] && passes='plain asan gc' || passes=plain
fi

cd "$root" || exit 1
build=$root/build
data=$build/test-data
logs=$build/test-logs
passed=0 failed=0 pending=0
# Half of what a spec does is to wait.
[ -n "$jobs" ] || jobs=$(($(nproc) * 2))

stage() {
    now=$(date +%s)
    [ -z "${stage_name:-}" ] || echo "== $stage_name: $((now - stage_began)) s"
    stage_name=$1 stage_began=$now
    [ -z "$stage_name" ] || echo "== $stage_name"
}

spinners=''
finish() {
    status=$?
    trap - EXIT
    trap '' HUP INT TERM
    # shellcheck disable=SC2086
    [ -z "$spinners" ] || kill $spinners 2>/dev/null
    [ ! -f "$logs/running" ] || kill "$(cat "$logs/running")" 2>/dev/null
    rm -f "$logs/running"
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

# run_specs PASS...: the specs that were asked for, in those passes.
run_specs() {
    stage "specs: $*"
    set -- $(printf -- '--pass=%s ' "$@") --jobs="$jobs" --logs="$logs" --data="$data"
    [ -z "$seed" ] || set -- "$@" --seed="$seed"
    log=$logs/specs.log
    set -f
    IFS='
'
    # shellcheck disable=SC2086
    set -- "$@" ${specs:-$(find "$root/spec" -name "*_spec.lua" | sort)}
    unset IFS
    set +f
    rm -rf "$data"
    mkdir -m 700 "$data" || exit 1
    # In the background, for a shell that waits for a pipeline runs no trap; but Ctrl-C is for it.
    {
        env --default-signal=INT,QUIT \
            sh -c 'echo $$ >"$0" && exec "$@"' "$logs/running" luajit tools/specs.lua "$@" 8>&-
    } 2>&1 | tee "$log" &
    wait $!
    rm -f "$logs/running"
    # shellcheck disable=SC2046
    set -- $(sed -n 's/^specs: \([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) pending$/\1 \2 \3/p' \
        "$log")
    if [ $# -ne 3 ]; then
        echo "the specs did not finish"
        failed=$((failed + 1))
        return
    fi
    passed=$((passed + $1)) failed=$((failed + $2)) pending=$((pending + $3))
}

# run_units PASS BUILD: the C units of a build, each a test.
run_units() {
    stage "$1: C units"
    set -- "$1" "$2" --output-on-failure
    [ -z "$units" ] || set -- "$@" -R "${units#|}"
    log=$logs/$1-units.log
    (cd "$2" && shift 2 && ASAN_OPTIONS=detect_leaks=1 ctest -j "$(nproc)" "$@") >"$log" 2>&1
    code=$?
    summary=$(grep -E '^[0-9]+% tests passed' "$log" | sed 's/^.*, \([0-9]*\) .* \([0-9]*\)$/\1 \2/')
    if [ -z "$summary" ]; then
        cat "$log"
        failed=$((failed + 1))
        return
    fi
    [ $code -eq 0 ] && tail -n 4 "$log" || cat "$log"
    bad=${summary% *} total=${summary#* }
    passed=$((passed + total - bad)) failed=$((failed + bad))
}

# run_valgrind BUILD: the C units of a build, one after the other. A leak is an error like any other.
run_valgrind() {
    stage "valgrind: C units"
    for unit in "$1"/unit/test_*; do
        name=${unit##*/}
        [ -z "$units" ] || echo "$name" | grep -qE "${units#|}" || continue
        log=$logs/valgrind-$name.log
        if timeout --foreground -k 10 "${STORES_TEST_LIMIT:-600}" valgrind --quiet \
            --leak-check=full --show-leak-kinds=definite,indirect,possible \
            --errors-for-leak-kinds=definite,indirect,possible --error-exitcode=99 \
            "$unit" >"$log" 2>&1; then
            passed=$((passed + 1))
            echo "$name: $(tail -n 1 "$log")"
        else
            failed=$((failed + 1))
            echo "$name: FAILED"
            cat "$log"
        fi
    done
}

build_pass() {
    stage "$1: build"
    shift
    sh tools/build.sh "$@" -DSTORES_TESTS=ON -DSTORES_WERROR=ON || exit 1
}

wants_units() {
    [ $all = yes ] || [ -n "$units" ]
}

wants_specs() {
    [ $all = yes ] || [ -n "$specs" ]
}

stage setup
sh tools/setup.sh test || exit 1
mkdir -p "$logs" || exit 1
exec 8>>"$build/test.lock"
flock -n 8 || { echo "test: another run is under way in this clone" >&2; exit 1; }

build_pass plain "$build" -DSTORES_BROKEN_CACHE=ON
case " $passes " in
    *' asan '*) build_pass asan "$build/asan" -DSTORES_ASAN=ON -DSTORES_UBSAN=ON ;;
esac
unset STORES_BUILD
STORES_ROOT=$root
. tools/env.sh

if [ -n "$busy" ]; then
    for core in $(seq "$(nproc)"); do
        timeout 7200 sh -c "while :; do :; done" 8>&- &
        spinners="$spinners $!"
    done
fi

spec_passes=''
for pass in $passes; do
    case $pass in
        plain) if wants_units; then run_units plain "$build"; fi ;;
        asan) if wants_units; then run_units asan "$build/asan"; fi ;;
        valgrind) if wants_units; then run_valgrind "$build"; fi ;;
    esac
    [ "$pass" = valgrind ] || spec_passes="$spec_passes $pass"
done
if wants_specs && [ -n "$spec_passes" ]; then
    [ "$repeat" -eq 1 ] || [ -n "$seed" ] || seed=$(date +%s)
    while [ "$repeat" -gt 0 ]; do
        # shellcheck disable=SC2086
        run_specs $spec_passes
        repeat=$((repeat - 1)) seed=${seed:+$((seed + 1))}
    done
fi
exit 0
