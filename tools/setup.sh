# Installs the Debian packages that are missing; quick and silent where all are there.
#   sh tools/setup.sh [demo|test|check|bench|peers|plot|http|codec|all]
# As root, or as a user with sudo. No server is started and no PostgreSQL cluster is made.
set -u

group=${1:-demo}
packages="gcc libc6-dev make cmake pkg-config
    libpq-dev libuv1-dev libhiredis-dev libssl-dev libluajit2-5.1-dev luajit2 lua-cjson lua-argparse"
servers="postgresql-15 redis-server"
case $group in
    demo) packages="$packages $servers iso-codes" ;;
    test) packages="$packages $servers ninja-build iso-codes lua-busted lua-luv lua-cqueues
        strace valgrind openssl pgbouncer nginx libnginx-mod-http-lua lua-nginx-redis wrk luarocks
        man-db bsdextrautils g++ lua5.1 lua5.2 lua5.3 lua5.4 lua-sql-postgres lua-redis
        lua-resty-lrucache" ;;
    bench) packages="$packages $servers" ;;
    peers) packages="$packages $servers lua-sql-postgres lua-redis lua-resty-lrucache" ;;
    plot) packages="$packages $servers gnuplot-nox" ;;
    http) packages="$packages $servers nginx libnginx-mod-http-lua lua-nginx-redis wrk" ;;
    codec) packages="$packages $servers iso-codes" ;;
    all) packages="$packages $servers iso-codes lua-sql-postgres lua-redis lua-resty-lrucache
        gnuplot-nox nginx libnginx-mod-http-lua lua-nginx-redis wrk" ;;
    check) packages="$packages lua-check cppcheck clang-format" ;;
    *)
        echo "usage: sh tools/setup.sh [demo|test|check|bench|peers|plot|http|codec|all]" >&2
        exit 2
        ;;
esac

# shellcheck disable=SC2086
installed=$(dpkg-query -W -f '/${Package}=${db:Status-Status}/' $packages 2>/dev/null)
missing=''
for package in $packages; do
    case $installed in *"/$package=installed/"*) ;; *) missing="$missing $package" ;; esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null && exec sudo -- sh "$0" "$group"
    echo "setup: missing packages, and neither root nor sudo. As root, run:" >&2
    echo "  apt-get install --no-install-recommends$missing" >&2
    exit 1
fi

# Two files stand in the way of servers while packages are installed, and only then: policy-rc.d
# keeps services from being started, the other PostgreSQL's package from making a cluster.
policy=/usr/sbin/policy-rc.d
clusters=/etc/postgresql-common/createcluster.d
made=''
log=$(mktemp) || exit 1

cleanup() {
    for file in $made; do rm -f "$file"; done
    rmdir "$clusters" /etc/postgresql-common 2>/dev/null
    rm -f "$log"
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

if [ ! -e "$policy" ]; then
    made="$made $policy"
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
if [ ! -e "$clusters/stores-setup.conf" ]; then
    mkdir -p "$clusters"
    made="$made $clusters/stores-setup.conf"
    echo 'create_main_cluster = false' >"$clusters/stores-setup.conf"
fi

install_missing() {
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends --no-remove \
        -o DPkg::Lock::Timeout=300 $missing >"$log" 2>&1 </dev/null
}

echo "setup: installing$missing" >&2
if ! install_missing; then
    # The package lists are missing, as in a fresh image, or old.
    if ! apt-get update -q >"$log" 2>&1 || ! install_missing; then
        cat "$log" >&2
        echo "setup: the packages could not be installed" >&2
        exit 1
    fi
fi

# A policy that was there before may have let the services start; they were not running before.
for service in postgresql redis-server pgbouncer nginx; do
    case "$missing " in *" $service"[\ -]*) service "$service" stop >/dev/null 2>&1 ;; esac
done
exit 0
