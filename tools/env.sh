# What a shell needs to run Lua programs from the source tree. In the clone's top folder:
#   . tools/env.sh
# Another build folder: STORES_BUILD=build/asan . tools/env.sh
if [ ! -f "${STORES_ROOT:-$PWD}/tools/env.sh" ]; then
    echo "env.sh: run this in the top folder of the clone, or set STORES_ROOT" >&2
else
    STORES_ROOT=${STORES_ROOT:-$PWD}
    STORES_BUILD=${STORES_BUILD:-$STORES_ROOT/build}
    case $STORES_BUILD in /*) ;; *) STORES_BUILD=$STORES_ROOT/$STORES_BUILD ;; esac
    LUA_PATH="$STORES_ROOT/lua/?.lua;$STORES_ROOT/lua/?/init.lua;$STORES_ROOT/?.lua;;"
    LUA_CPATH="$STORES_BUILD/?.so;;"
    export STORES_ROOT STORES_BUILD LUA_PATH LUA_CPATH
fi
