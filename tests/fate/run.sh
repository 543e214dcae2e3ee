#!/bin/sh
#
# End-to-end tests: a patched ffmpeg on synthetic sources and a sample clip.
# Part of libmagvit, LGPL-2.1-or-later, see LICENSE.
#
# usage: tests/fate/run.sh [NAME...]     all tests of list.txt, or those named
#
# FFMPEG    the program under test [build/ffmpeg/ffmpeg]; ffprobe lies beside it
# MAGVIT    the command line tool [build/magvit]
# BACKEND   backend of the filters [auto]
# GEN=1     write the references of ref/ instead of comparing with them
#
# Prints "ok" or "not ok" a test, what was wrong as # lines, "# SKIP" and why
# for one that cannot run here, and last "N passed, N failed". A reference lists time stamps and flags, never samples:
# those depend on the processor.

export LC_ALL=C
unset MAGVIT_MODEL_PATH
here=$(pwd -P)
cd "$(dirname "$0")/../.." || exit 1
FFMPEG=${FFMPEG:-$here/build/ffmpeg/ffmpeg}
MAGVIT=${MAGVIT:-$here/build/magvit}
case $FFMPEG in /*) ;; *) FFMPEG=$here/$FFMPEG ;; esac
FFPROBE=$(dirname "$FFMPEG")/ffprobe
fate=tests/fate
tiny=tests/data/tiny.safetensors
opts=model=$tiny:backend=${BACKEND:-auto}
formats="yuv420p yuv422p10le yuv444p gray gbrp gbrpf32le yuva420p yuv411p yuv440p gray16le gbrap12le yuvj420p"

"$FFMPEG" -hide_banner -filters 2> /dev/null | grep -q magvit_interp || {
    echo "$FFMPEG is not an ffmpeg with the MAGVIT filters: run tools/build-ffmpeg.sh"
    exit 1
}
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

# ---------------------------------------------------------------- helpers

note() { printf '# %s\n' "$*"; return 1; }

# skip WHY: the test cannot run here
skip() { echo "$*"; return 77; }

ff() { timeout "${TIMEOUT:-300}" "$FFMPEG" -nostdin -hide_banner -v error -y "$@"; }

# source SIZE RATE FRAMES FORMAT: a moving picture
source() { echo "testsrc2=size=$1:rate=$2,trim=end_frame=$3,format=$4"; }

# md5 SOURCE FILTER [OPTION...]: a checksum a line, of every output frame
md5() {
    src=$1 vf=$2; shift 2
    ff -f lavfi -i "$src" -vf "$vf" "$@" -fps_mode passthrough -f framemd5 "$tmp/framemd5" || return
    sed -n 's/^0,.*, *//p' "$tmp/framemd5"
}

# stamps SOURCE FILTER: geometry and rate, then "pts generated window" a frame
stamps() {
    timeout 300 "$FFPROBE" -v error -f lavfi -show_entries stream=width,height,time_base,r_frame_rate \
        -of compact=p=0 "$1,$2" || return
    ff -f lavfi -i "$1" -vf "$2,metadata=print:file=-" -fps_mode passthrough -f null - | awk '
        function flush()            { if (n++) print line made window; line = made = window = "" }
        /^frame:/                   { flush(); line = $2 }
        /^lavfi.magvit.generated=/  { made = " " substr($0, 14) } # in which order depends on the release
        /^lavfi.magvit.window=/     { window = " " substr($0, 14) }
        END                         { flush() }'
}

# with_reference NAME: standard input equals the reference
with_reference() {
    cat > "$tmp/got"
    if [ -n "$GEN" ]; then
        cp "$tmp/got" "$fate/ref/$1"
    elif ! diff -u "$fate/ref/$1" "$tmp/got" > "$tmp/diff" 2>&1; then
        sed 's/^/# /' "$tmp/diff"
        return 1
    fi
}

lines() { wc -l < "$1" | tr -d ' '; }

# every WORD: lines 1, N+1, 2N+1, ... of a file
every() { awk -v n="$1" 'NR % n == 1 || n == 1' "$2"; }

same() { # WHAT FILE FILE
    [ -s "$2" ] || note "$1: nothing was written" || return 1
    cmp -s "$2" "$3" || note "$1 differs: $(diff "$2" "$3" | grep -c '^[<>]') lines"
}

differ() { # WHAT FILE FILE
    ! cmp -s "$2" "$3" || note "$1: must differ"
}

count() { # WHAT EXPECTED FILE
    [ "$(lines "$3")" = "$2" ] || note "$1: $(lines "$3") frames, expected $2"
}

# refuses PATTERN ffmpeg-arguments...: fails, and the filter says why in one line
refuses() {
    pattern=$1; shift
    ff "$@" -f null - > /dev/null 2> "$tmp/err"
    case $? in 0|124) note "exit status 0, or timeout: $*"; return 1 ;; esac
    grep -a 'magvit_[a-z]*_[0-9]* @' "$tmp/err" | grep -v 'Failed to configure output pad' > "$tmp/ours"
    [ "$(lines "$tmp/ours")" = 1 ] || note "$(lines "$tmp/ours") lines: $(cat "$tmp/err")" || return 1
    grep -aq -- "$pattern" "$tmp/ours" || note "no '$pattern' in: $(cat "$tmp/ours")"
}

# values FILE: number of different bytes in it
values() { od -An -v -tu1 "$1" | tr -s ' ' '\n' | sort -u | grep -c .; }

. "$fate/tests.sh"
. "$fate/inpaint.sh"
. "$fate/errors.sh"
. "$fate/elsewhere.sh"
. "$fate/tree.sh"
. "$fate/hwframes.sh"

# ---------------------------------------------------------------- run

[ $# -gt 0 ] || set -- $(sed 's/#.*//; s/:.*//' "$fate/list.txt")
number=0 passed=0 failed=0 skipped=0
for name; do
    number=$((number + 1))
    rm -rf "$tmp"/*
    "test_$(echo "$name" | tr - _)" > "$tmp.out" 2>&1
    case $? in
    0)  passed=$((passed + 1)); echo "ok $number - $name" ;;
    77) skipped=$((skipped + 1)); echo "ok $number - $name # SKIP $(cat "$tmp.out")" ;;
    *)  failed=$((failed + 1)); echo "not ok $number - $name"
        sed 's/^\(# \)*/# /' "$tmp.out" | head -n 20 ;;
    esac
    rm -f "$tmp.out"
done
echo "1..$number"
[ $skipped = 0 ] || echo "# $skipped skipped"
echo "$passed passed, $failed failed"
[ $failed = 0 ]
