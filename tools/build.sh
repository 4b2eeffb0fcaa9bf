# Configures and builds into a folder, quietly; shows the log where that fails.
#   sh tools/build.sh FOLDER [cmake options]
set -u
root=$(cd "$(dirname "$0")/.." && pwd) || exit 1
[ $# -ge 1 ] || { echo "usage: sh tools/build.sh FOLDER [cmake options]" >&2; exit 2; }
build=$1
shift
mkdir -p "$build" || exit 1

# A folder that was configured for a clone of another place cannot be used again.
if [ -f "$build/CMakeCache.txt" ] &&
    ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root" "$build/CMakeCache.txt"; then
    rm -rf "$build/CMakeCache.txt" "$build/CMakeFiles"
fi

# Ninja spends less on it than make does; a folder keeps what it was configured for.
if [ ! -f "$build/CMakeCache.txt" ] && [ -z "${CMAKE_GENERATOR:-}" ] &&
    command -v ninja >/dev/null; then
    case " $*" in
        *' -G'*) ;; # its caller says what builds it
        *) set -- -G Ninja "$@" ;;
    esac
fi

if cmake -S "$root" -B "$build" "$@" >"$build/build.log" 2>&1 &&
    cmake --build "$build" -j "$(nproc)" >>"$build/build.log" 2>&1; then
    exit 0
fi
cat "$build/build.log" >&2
exit 1
