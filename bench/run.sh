# The speed of Stores beside its ceilings, on private servers of this clone:
#   sh bench/run.sh             each workload and its ceiling, median of 5, a few minutes
#   sh bench/run.sh --quick     one short measurement of each
#   sh bench/run.sh --peers     beside the same calls written by hand, with lua-sql-postgres and
#                               lua-redis
#   sh bench/run.sh --plot      curves over rows, coroutines and processes, as SVG in build/bench
#   sh bench/run.sh --lists     lists of 20 documents out of 200,000, each form of criteria and order,
#                               beside the same statement in pgbench
#   sh bench/run.sh --bulk      1,000,000 documents by `stores import` and `stores export`, beside
#                               psql's \copy of the same lines; --rows N: so many
#   sh bench/run.sh --http      the example API in nginx beside lua-nginx-redis, by wrk (bench/http.lua)
#   sh bench/run.sh --codec     the JSON codec beside lua-cjson, on the same text in one process
#   sh bench/run.sh --all       all of these
# Options:
#   --seconds S   of one measurement        --repeat N   measurements of each
#   --rows N      rows of the tables        --only TEXT  workloads whose name contains it
#   --write       what was measured into the tables of docs/performance.md
# The ceilings are redis-benchmark, pgbench and loops in C, in the same run, on the same servers
# and payload; every figure is printed with what it is divided by.
set -u
root=$(cd "$(dirname "$0")/.." && pwd) || exit 1
cd "$root" || exit 1

group=bench
value=''
for argument in "$@"; do
    case $value$argument in
        --plot | --peers | --http | --codec | --all) group=${argument#--} ;;
        --lists | --bulk) ;;
        --quick | --write) ;;
        --seconds | --repeat | --rows | --only) value='value ' ;;
        'value '*) value='' ;;
        *)
            echo "usage: sh bench/run.sh [--quick] [--write]" \
                "[--peers | --plot | --http | --lists | --bulk | --codec | --all]" \
                "[--seconds S] [--repeat N] [--rows N] [--only TEXT]" >&2
            exit 2
            ;;
    esac
done
sh tools/setup.sh $group || exit 1
if [ -z "${STORES_BUILD:-}" ]; then
    sh tools/build.sh "$root/build" || exit 1
fi
STORES_ROOT=$root
. tools/env.sh

out=$root/build/bench
mkdir -p "$out" || exit 1
for loop in hiredis libpq; do
    # shellcheck disable=SC2046
    cc -std=c11 -O2 -o "$out/${loop}_loop" "bench/${loop}_loop.c" \
        $(pkg-config --cflags --libs "$loop") || exit 1
done

# The servers stop when nobody holds this lock any more: this shell, however it goes.
# A spec keeps them where it keeps all of its servers, and spares them initdb.
data=${STORES_TEST_ROOM:-$out}/data-$$
finish() {
    status=$?
    trap - EXIT
    [ ! -s "$data/nginx/nginx.pid" ] || kill "$(cat "$data/nginx/nginx.pid")"
    exec 9>&-
    tools/stores down "$data" >/dev/null 2>&1
    rm -rf "$data"
    exit $status
}
mkdir -m 700 "$data" || exit 1
if [ -n "${STORES_TEST_TEMPLATE:-}" ]; then # its template0 is beside it (spec/support/template.lua)
    cp -a "$STORES_TEST_TEMPLATE/pgdata" "$data" || exit 1
    cp -a "$STORES_TEST_TEMPLATE"/fixed/* "$data/pgdata/base" || exit 1
fi
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
exec 9>>"$data/users.lock"
flock -s 9
where=$(tools/stores up --while-used "$data") || exit 1
eval "$where"
export PGHOST PGPORT PGUSER PGDATABASE REDIS_SOCKET
STORES_BENCH_OUT=$out STORES_BENCH_DATA=$data luajit bench/run.lua "$@"
