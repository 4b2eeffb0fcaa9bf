# All the tests, from a bare Debian 12:
#   sh tools/test.sh                        everything: what continuous integration runs
#   sh tools/test.sh --fast                 the plain pass only
#   sh tools/test.sh spec/json_spec.lua     one spec (or several), plain pass
#   sh tools/test.sh spec/unit/test_ids.c   one C unit
#   sh tools/test.sh --pass=asan [SPEC...]  one pass: plain, asan, gc or valgrind
# Passes: plain; asan, the same under AddressSanitizer and UndefinedBehaviorSanitizer; gc, the specs
# with the collector running all the time. Specs tagged #slow run in the plain pass alone.
# valgrind, the C units under it, is too slow to be one of those that run by themselves.
#
# One private PostgreSQL and Redis serve the whole run. Specs find them by STORES_TEST_DIR (for
# stores.open), STORES_TEST_PGHOST and STORES_TEST_REDIS_SOCKET. STORES_TEST_PASS names the pass.
# The last line is `N passed, N failed`; the status is 0 only where something passed and nothing
# failed.
set -u
root=$(cd "$(dirname "$0")/.." && pwd) || exit 1

passes='' specs='' units='' all=yes
for argument in "$@"; do
    case $argument in
        --fast) passes=plain ;;
        --pass=plain | --pass=asan | --pass=gc | --pass=valgrind) passes="$passes ${argument#--pass=}" ;;
        -*)
            echo "usage: sh tools/test.sh [--fast] [--pass=plain|asan|gc|valgrind] [SPEC...]" >&2
            exit 2
            ;;
        *)
            all=no
            [ -f "$argument" ] || argument=$root/$argument
            [ -f "$argument" ] || { echo "test: there is no file ${argument#"$root/"}" >&2; exit 2; }
            case $argument in
                *.c) argument=${argument##*/} units="$units|^${argument%.c}\$" ;;
                *) specs="$specs
$(cd "$(dirname "$argument")" && pwd)/${argument##*/}" ;;
            esac
            ;;
    esac
done
if [ -z "$passes" ]; then
    [ $all = yes ] && passes='plain asan gc' || passes=plain
fi

cd "$root" || exit 1
build=$root/build
data=$build/test-data
logs=$build/test-logs
passed=0 failed=0 pending=0
holding=''

stage() {
    now=$(date +%s)
    [ -z "${stage_name:-}" ] || echo "== $stage_name: $((now - stage_began)) s"
    stage_name=$1 stage_began=$now
    [ -z "$stage_name" ] || echo "== $stage_name"
}

finish() {
    status=$?
    trap - EXIT
    trap '' HUP INT TERM
    [ ! -f "$logs/running" ] || kill "$(cat "$logs/running")" 2>/dev/null
    rm -f "$logs/running"
    if [ -n "$holding" ]; then
        exec 9>&- # no user any more
        luajit tools/servers.lua down "$data" >/dev/null 2>&1
    fi
    [ $status -eq 0 ] || [ $failed -gt 0 ] || failed=1
    [ $passed -gt 0 ] || [ $failed -gt 0 ] || failed=1
    stage ''
    [ $pending -eq 0 ] || echo "$pending pending"
    echo "$passed passed, $failed failed"
    [ $failed -eq 0 ] || exit 1
    exit 0
}
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# number NAME FILE: the count that stands before NAME in the last summary of busted.
number() {
    grep -E '^[0-9]+ success(es)? / [0-9]+ failures? / [0-9]+ errors? / [0-9]+ pending' "$2" |
        tail -n 1 | grep -oE "[0-9]+ $1" | cut -d' ' -f1
}

# run_specs PASS COMMAND...: busted as COMMAND runs it, over the specs that were asked for.
run_specs() {
    pass=$1
    shift
    stage "$pass: specs"
    log=$logs/$pass.log
    [ "$pass" = plain ] || set -- "$@" --exclude-tags=slow
    if [ -n "$specs" ]; then
        set -f
        IFS='
'
        # shellcheck disable=SC2086
        set -- "$@" $specs
        unset IFS
        set +f
    else
        set -- "$@" --pattern=_spec spec
    fi
    rm -f "$logs/$pass.status"
    # In the background, for a shell that waits for a pipeline runs no trap; but Ctrl-C is for it.
    {
        STORES_TEST_PASS=$pass env --default-signal=INT,QUIT \
            sh -c 'echo $$ >"$0" && exec timeout --foreground -k 10 "$@"' \
            "$logs/running" "${STORES_TEST_LIMIT:-600}" "$@"
        echo $? >"$logs/$pass.status"
    } 2>&1 | tee "$log" &
    wait $!
    rm -f "$logs/running"
    read -r code <"$logs/$pass.status"

    good=$(number success "$log")
    if [ -z "$good" ]; then
        echo "$pass: busted did not finish (status $code)"
        failed=$((failed + 1))
        return
    fi
    bad=$(($(number failure "$log") + $(number error "$log")))
    if [ "$code" -ne 0 ] && [ $bad -eq 0 ]; then
        echo "$pass: all specs passed, but the process ended with status $code"
        bad=1
    fi
    skipped=$(number pending "$log")
    passed=$((passed + good)) failed=$((failed + bad)) pending=$((pending + ${skipped:-0}))
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

stage setup
sh tools/setup.sh test || exit 1
mkdir -p "$logs" || exit 1
exec 8>>"$build/test.lock"
flock -n 8 || { echo "test: another run is under way in this clone" >&2; exit 1; }

build_pass plain "$build" -DSTORES_BROKEN_CACHE=ON
unset STORES_BUILD
STORES_ROOT=$root
. tools/env.sh

if [ $all = yes ] || [ -n "$specs" ]; then
    stage servers
    [ ! -d "$data" ] || luajit tools/servers.lua down "$data" >/dev/null || exit 1
    rm -rf "$data"
    mkdir -m 700 "$data" || exit 1
    # This shell is a user of the servers, so they stop when it is gone, however it goes.
    exec 9>>"$data/users.lock"
    flock -s 9
    holding=yes
    where=$(luajit tools/servers.lua up "$data") || exit 1
    eval "$where"
    export STORES_TEST_DIR="$data" STORES_TEST_PGHOST="$PGHOST"
    export STORES_TEST_REDIS_SOCKET="$REDIS_SOCKET"
    unset PGHOST PGPORT PGUSER PGDATABASE REDIS_SOCKET
fi

wants_units() {
    [ $all = yes ] || [ -n "$units" ]
}

wants_specs() {
    [ $all = yes ] || [ -n "$specs" ]
}

busted=$(command -v busted)
for pass in $passes; do
    case $pass in
        plain)
            if wants_units; then run_units plain "$build"; fi
            if wants_specs; then run_specs plain luajit "$busted" -o plainTerminal; fi
            ;;
        asan)
            build_pass asan "$build/asan" -DSTORES_ASAN=ON -DSTORES_UBSAN=ON
            if wants_units; then run_units asan "$build/asan"; fi
            # LuaJIT's own memory is not malloc's, and a spec may leave a store to the collector:
            # leaks are looked for in the C units alone.
            if wants_specs; then
                run_specs asan env LD_PRELOAD="$(gcc -print-file-name=libasan.so)" \
                    ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
                    LUA_CPATH="$build/asan/?.so;;" luajit "$busted" -o plainTerminal
            fi
            ;;
        gc)
            if wants_specs; then
                run_specs gc luajit "$busted" -o plainTerminal --helper=spec/gc_helper.lua
            fi
            ;;
        valgrind)
            if wants_units; then run_valgrind "$build"; fi
            ;;
    esac
done
exit 0
