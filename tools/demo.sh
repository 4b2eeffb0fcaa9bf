# The demonstration, from a bare Debian 12 to documents in PostgreSQL and Redis:
#   sh tools/demo.sh
# Installs what is missing, builds into build/, runs examples/quickstart.lua over servers of its own
# below build/, and leaves no server running.
set -u
root=$(cd "$(dirname "$0")/.." && pwd) || exit 1
cd "$root" || exit 1
data=$root/build/demo-data

sh tools/setup.sh demo || exit 1
echo "demo: building into build/" >&2
sh tools/build.sh "$root/build" || exit 1
unset STORES_BUILD
STORES_ROOT=$root
. tools/env.sh

stop() {
    [ ! -d "$data" ] || tools/stores down "$data" >/dev/null
}
trap stop EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Each run begins with an empty database; the last run's stays there to be looked at.
stop && rm -rf "$data" || exit 1
echo "demo: running examples/quickstart.lua over build/demo-data" >&2
luajit examples/quickstart.lua "$data"
