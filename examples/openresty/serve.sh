# The JSON API, over a PostgreSQL and a Redis of its own:
#   sh examples/openresty/serve.sh [FOLDER [LISTEN]]
# FOLDER: where all of its data is (./data); LISTEN: as nginx takes it (127.0.0.1:8080).
# Needs nginx with its Lua module (Debian: nginx libnginx-mod-http-lua). Ctrl-C ends it; HUP reloads.
set -u
data=${1:-./data} listen=${2:-127.0.0.1:8080}
here=$(cd "$(dirname "$0")" && pwd) || exit 1
root=$(cd "$here/../.." && pwd) || exit 1
cd "$root" || exit 1
STORES_ROOT=$root
. tools/env.sh

mkdir -p -m 700 "$data" && data=$(cd "$data" && pwd) && mkdir -p "$data/nginx" || exit 1
# The servers run as long as somebody holds this lock: nginx inherits it.
exec 9>>"$data/users.lock"
flock -s 9
where=$(tools/stores up --while-used "$data") || exit 1
eval "$where"
export PGHOST PGPORT PGUSER PGDATABASE REDIS_SOCKET
luajit "$here/prepare.lua" || exit 1

sed "s|127.0.0.1:8080|$listen|" "$here/nginx.conf" >"$data/nginx/nginx.conf" || exit 1
LUA_PATH="$here/?.lua;$LUA_PATH"
main='daemon off;'
# Workers need the rights of who owns the servers' sockets.
[ "$(id -u)" -ne 0 ] || main="$main user root;"
echo "http://$listen/docs"
exec nginx -p "$data/nginx/" -c "$data/nginx/nginx.conf" -e "$data/nginx/error.log" -g "$main"
