#!/bin/sh
# Prove that the patches fit: for every FFmpeg source tree given, apply the
# patch to a copy, configure it, compile the filter objects without a warning,
# take the patch out and compare with the original.
#
# usage: check.sh DIR...     needs magvit.h and libmagvit.pc: PKG_CONFIG_PATH
set -u

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
passed=0 failed=0

check() { # tree
    release=$(cat "$1/RELEASE" 2>/dev/null || echo unknown)
    copy=$work/src log=$work/log
    rm -rf "$copy"; cp -r "$1" "$copy" || return 1
    "$here/apply.sh" "$copy" || return 1
    "$here/apply.sh" "$copy" | grep -q 'already applied' || { echo "second run is not harmless"; return 1; }
    (
        cd "$copy" || exit 1
        ./configure --cc="${CC:-cc}" --disable-everything --disable-autodetect --disable-doc --disable-programs \
            --disable-x86asm --enable-version3 --pkg-config-flags=--static --enable-libmagvit \
            --enable-filter=magvit_inpaint,magvit_interp,magvit_outpaint,magvit_predict,magvit_src &&
        make -j"${JOBS:-2}" V=0 libavfilter/magvit/magvit_filter.o libavfilter/magvit/magvit_mask.o \
            libavfilter/magvit/vf_magvit_inpaint.o \
            libavfilter/magvit/vf_magvit_interp.o libavfilter/magvit/vf_magvit_outpaint.o \
            libavfilter/magvit/vf_magvit_predict.o libavfilter/magvit/vsrc_magvit_src.o
    ) > "$log" 2>&1 || { tail -n 20 "$log"; return 1; }
    if grep -n 'magvit.*warning:' "$log"; then return 1; fi
    "$here/apply.sh" "$copy" --reverse || return 1
    for file in configure libavfilter/Makefile libavfilter/allfilters.c fftools/ffmpeg.c; do
        cmp "$1/$file" "$copy/$file" || return 1
    done
    [ ! -e "$copy/libavfilter/magvit/magvit_filter.c" ]
}

[ $# -gt 0 ] || { echo "usage: $0 FFMPEG_SOURCE_DIR..."; exit 1; }
for tree; do
    if check "$tree"; then
        echo "ok - FFmpeg $release"; passed=$((passed + 1))
    else
        echo "not ok - $tree"; failed=$((failed + 1))
    fi
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
