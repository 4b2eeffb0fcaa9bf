#!/bin/sh
# What a container, or a unit of systemd, starts: what is new in the list of migrations runs first,
# in one of all that start at once, and the program takes the place of this shell then, so that it
# is the one that is told to stop.
set -e
here=$(cd "$(dirname "$0")" && pwd)
export STORES_CONFIG="${STORES_CONFIG:-$here/shop.lua}"
stores migrate "$here/migrations.lua"
exec luajit "$here/service.lua"
