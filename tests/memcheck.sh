#!/bin/sh
#
# The filter tests under a memory checker.
# Part of libmagvit, LGPL-2.1-or-later, see LICENSE.
#
# usage: tests/memcheck.sh asan|valgrind [NAME...]
#
# asan      libmagvit, the tool and the filters are built with the address and
#           undefined behaviour sanitizers, in build/asan, and linked to FFmpeg
#           code without; all tests are run
# valgrind  build/ffmpeg/ffmpeg and build/magvit as they are, with the ref
#           backend, as oneDNN's generated code uses more of the processor than
#           valgrind knows; the tests that cover the filters' code in few runs
#
# What others' code does is passed over as tests/memcheck.supp says, with the
# reason for each row. A test fails as in tests/fate/run.sh; a report of the
# checker fails the whole run, whatever the test made of it.
set -eu

die() { echo "memcheck.sh: $*" >&2; exit 1; }

root=$(cd "$(dirname "$0")/.." && pwd -P)
build=$(pwd -P)/build
checker=${1:-}
[ $# = 0 ] || shift
logs=$build/memcheck
rm -rf "$logs"
mkdir -p "$logs"

# rows CHECKER: what is suppressed in it
rows() { awk -v of="$1" '/^#/ { next } /^\[/ { on = $0 == "[" of "]"; next } on' "$root/tests/memcheck.supp" > "$logs/suppressions"; }

# wrap PROGRAM: a script of that name that runs it under valgrind
wrap() {
    cat > "$logs/${1##*/}" <<END
#!/bin/sh
exec valgrind -q --log-file="$logs/log.%p" --leak-check=full --show-leak-kinds=definite --num-callers=20 \\
    --suppressions="$logs/suppressions" "$1" "\$@"
END
    chmod +x "$logs/${1##*/}"
}

case $checker in
asan)
    mkdir -p "$build/asan"
    cd "$build/asan"
    sanitize="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer"
    [ -f config.mak ] || "$root/configure" --enable-asan --enable-ubsan --enable-werror
    make -j"$(nproc 2> /dev/null || echo 2)" all
    MAGVIT_CFLAGS=$sanitize "$root/tools/build-ffmpeg.sh"
    export FFMPEG="$build/asan/build/ffmpeg/ffmpeg" MAGVIT="$build/asan/build/magvit"
    rows lsan
    export LSAN_OPTIONS="suppressions=$logs/suppressions:print_suppressions=0"
    export ASAN_OPTIONS="log_path=$logs/log:detect_stack_use_after_return=1" UBSAN_OPTIONS="print_stacktrace=1:log_path=$logs/log"
    # other programs would have to be built with them, too; the checker's own memory is what it is
    all=$(sed 's/#.*//; s/:.*//' "$root/tests/fate/list.txt" | grep -vxE 'memory|preload|mpv|melt')
    ;;
valgrind)
    command -v valgrind > /dev/null || die "valgrind is not installed"
    [ -x "$build/ffmpeg/ffmpeg" ] || die "no build/ffmpeg/ffmpeg here: run tools/build-ffmpeg.sh first"
    rows valgrind
    for program in "$build/ffmpeg/ffmpeg" "$build/ffmpeg/ffprobe" "$build/magvit"; do
        wrap "$program"
    done
    export FFMPEG="$logs/ffmpeg" MAGVIT="$logs/magvit" BACKEND=ref
    all="interp-hold interp-seed repair inpaint-clip inpaint-mask-input inpaint-feather outpaint-sides predict-class src-class
         empty model-errors run-errors-window fallback two-instances early-stop tool-damaged"
    ;;
*)  sed -n '/^# usage/,/^$/s/^# \{0,1\}//p' "$0"
    die "asan or valgrind?" ;;
esac

[ $# -gt 0 ] || set -- $all
status=0
TIMEOUT=${TIMEOUT:-900} sh "$root/tests/fate/run.sh" "$@" || status=1
reports=0
for log in "$logs"/log.*; do
    [ -s "$log" ] || continue
    [ $reports != 0 ] || sed -n 1,60p "$log"
    reports=$((reports + 1))
done
echo "$checker: $reports reports in build/memcheck"
[ $reports = 0 ] && [ $status = 0 ]
