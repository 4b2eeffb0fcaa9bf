# What a change must pass before it is reviewed, besides the tests:
#   sh tools/check.sh          formatting, luacheck, cppcheck, warnings, rooms, sizes
#   sh tools/check.sh --fix    formats the C files
set -u
root=$(cd "$(dirname "$0")/.." && pwd) || exit 1
cd "$root" || exit 1
case ${1:-} in
    '' | --fix) ;;
    *)
        echo "usage: sh tools/check.sh [--fix]" >&2
        exit 2
        ;;
esac

sh tools/setup.sh check || exit 1
c_files=$(find core bindings spec -name '*.[ch]' | sort)
failed=''

check() {
    name=$1
    shift
    if "$@"; then
        echo "$name: ok"
    else
        echo "$name: FAILED"
        failed="$failed $name"
    fi
}

if [ "${1:-}" = --fix ]; then
    # shellcheck disable=SC2086
    exec clang-format -i $c_files
fi

scripts() {
    for script in tools/*.sh tools/stores examples/*/*.sh .ci/run; do
        sh -n "$script" || return 1
    done
}

# Pages and definitions that are written from the code.
written() {
    STORES_ROOT=$root STORES_BUILD=$root/build/check
    . tools/env.sh
    luajit tools/docs.lua --check
}

# The folders of the bindings include those before them, and of the core stores.h and base/.
bindings() {
    grep -rn '#include "' bindings | awk -F '[:"]' '
        BEGIN { split("json values hub store", order, " "); for (i in order) rank[order[i]] = i + 0 }
        {
            file = $1; header = $4; split(file, part, "/")
            own = part[2] in rank ? rank[part[2]] : 9
            room = header; sub("/.*", "", room)
            if (header ~ /^(stores|lua_api)\.h$/ || room == "base") next
            if (header !~ /\// && own < 9) next
            if (room in rank && rank[room] <= own) next
            print file ":" $2 ": includes " header; wrong = 1
        }
        END { exit wrong }'
}

# What the build guards, and what it does not see: the circles in each room; includes that climb.
rooms() {
    STORES_BUILD=$root/build/check luajit tools/circles.lua --check || return 1
    ! grep -nE '^#include "(.*/)?\.\./' $c_files
}

# Each file of a room is named on the room's page, which says what it is.
pages() {
    unnamed=''
    for file in core/*/*.c; do
        grep -q "\`$(basename "$file")\`" "$(dirname "$file")/README.md" || unnamed="$unnamed $file"
    done
    [ -z "$unnamed" ] && return 0
    echo "not on the page of their room:$unnamed"
    return 1
}

sizes() {
    wc -l $(find core bindings lua tools -name '*.[chl]*' -type f | sort) | awk '
        $2 == "total" { next }
        $1 > 400 { print $2 " has " $1 " lines, of 400"; failed = 1 }
        $2 ~ /(misc|util|helper)s?\./ { print $2 " is named after nothing"; failed = 1 }
        END { exit failed }'
}

# clang-format does not wrap comments.
columns() {
    # shellcheck disable=SC2086
    ! LC_ALL=C.UTF-8 grep -nE '^.{101,}' $c_files
}

# shellcheck disable=SC2086
check clang-format clang-format --dry-run -Werror $c_files
check luacheck luacheck -q .
check bindings bindings
check warnings sh tools/build.sh "$root/build/check" -DSTORES_TESTS=ON -DSTORES_WERROR=ON \
    -DSTORES_QUICK=OFF
check cppcheck cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,portability \
    --inline-suppr --suppress=missingIncludeSystem -I core -I bindings core bindings
check written written
check rooms rooms
check pages pages
check sizes sizes
check columns columns
check shell scripts
[ -z "$failed" ] || exit 1
