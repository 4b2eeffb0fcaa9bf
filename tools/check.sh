# What a change must pass before it is reviewed, besides the tests:
#   sh tools/check.sh          formatting, luacheck, cppcheck, warnings
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
    for script in tools/*.sh .ci/run; do
        sh -n "$script" || return 1
    done
}

# Pages and definitions that are written from the code.
written() {
    STORES_ROOT=$root STORES_BUILD=$root/build/check
    . tools/env.sh
    luajit tools/docs.lua --check
}

# shellcheck disable=SC2086
check clang-format clang-format --dry-run -Werror $c_files
check luacheck luacheck -q .
check warnings sh tools/build.sh "$root/build/check" -DSTORES_TESTS=ON -DSTORES_WERROR=ON
check cppcheck cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,portability \
    --inline-suppr --suppress=missingIncludeSystem -I core -I bindings core bindings
check written written
check shell scripts
[ -z "$failed" ] || exit 1
