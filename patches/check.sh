#!/bin/sh
# Prove that the patches fit: for every FFmpeg source tree given, patch a copy,
# show the whole change to the tree's own tools/patcheck, take the patches out
# and compare with the original; then patch again, compile the filter objects
# and, where makeinfo is installed, the documentation, both without a warning.
#
# usage: check.sh DIR...     needs magvit.h and libmagvit.pc: PKG_CONFIG_PATH
set -u

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
passed=0 failed=0

# accepted: of patcheck's hints those that are known to be none. A row: the hint, and what the line holds that it is about.
# Most of its patterns are meant for C and look at comments, makefiles and configure as well; what it says of variables and
# braces the compiler and FFmpeg's own sources know better.
accepted() {
    cat <<'END'
tabs                               \t\$\(M\)cp
reserved identifer                 _Thread_local|%_FILTER
These functions may need av_cold   [ ](send_missing|send_frame|send_next|mask_ended)\(
missing void                       \+ ?[ /]*\*
Possible security issue            av_asprintf
divide by 2^x                      fps\*5/2|\(white \+ 1\) / 256|magenta|- i[wh]\) / 2
Please use av_assert0              #include <assert\.h>
Non static with no ff_/av_ prefix  .
missing } prior to else            .
Non doxy comments                  .
possibly unused variables          .
END
}

# hints TREE: what patcheck has to say about the change, less what is accepted
hints() {
    (
        cd "$work" || exit 1
        ln -sfn "$1" original
        diff -Nru -x doc original/ src/ | grep -v '^Binary files' > magvit.patch
        grep -q '^+++ src/libavfilter/magvit/magvit_filter.c' magvit.patch || echo "no patch to check"
        accepted > accepted
        sh original/tools/patcheck magvit.patch 2>&1 | sed "s/$(printf '\033')\\[[0-9;]*[mK]//g" | awk -F '   *' '
            NR == FNR            { pattern[$1] = $2; next }
            /^Missing /          { print; next }
            !/^magvit.patch[:-]/ { if (NF && !/^(possibly (never|constant)|--$|NULL$)/) hint = $0; next }
            /^magvit.patch:/     { ok = 0
                                   for (h in pattern) if (index(hint, h) && $0 ~ pattern[h]) ok = 1
                                   if (!ok) print hint ": " $0 }' accepted -
    )
}

# build: what the filters and their documentation are made of, in the patched tree
build() {
    doc=--disable-doc
    command -v makeinfo > /dev/null && doc=
    cd "$copy" || return
    # shellcheck disable=SC2086
    ./configure --cc="${CC:-cc}" --disable-everything --disable-autodetect --disable-programs $doc \
        --disable-x86asm --enable-version3 --pkg-config-flags=--static --enable-libmagvit \
        --enable-filter=magvit_inpaint,magvit_interp,magvit_outpaint,magvit_predict,magvit_src &&
    make -j"${JOBS:-2}" V=0 libavfilter/magvit/magvit_filter.o libavfilter/magvit/magvit_hwframe.o libavfilter/magvit/magvit_mask.o \
        libavfilter/magvit/vf_magvit_inpaint.o \
        libavfilter/magvit/vf_magvit_interp.o libavfilter/magvit/vf_magvit_outpaint.o \
        libavfilter/magvit/vf_magvit_predict.o libavfilter/magvit/vsrc_magvit_src.o || return
    [ -n "$doc" ] || return 0
    make -j"${JOBS:-2}" V=0 doc/ffmpeg-filters.html doc/ffmpeg-filters.1 doc/general.html &&
        grep -q 'id="magvit_005fsrc"' doc/ffmpeg-filters.html && grep -q 'magvit_src' doc/ffmpeg-filters.1
}

check() { # tree
    release=$(cat "$1/RELEASE" 2>/dev/null || echo unknown)
    copy=$work/src log=$work/log
    rm -rf "$copy"; cp -r "$1" "$copy" || return 1
    "$here/apply.sh" "$copy" --copy || return 1
    if "$here/apply.sh" "$copy" --copy | grep -v 'already applied'; then echo "second run is not harmless"; return 1; fi
    hints "$1" > "$work/hints" || return 1
    if [ -s "$work/hints" ]; then cat "$work/hints"; echo "tools/patcheck has hints"; return 1; fi
    "$here/apply.sh" "$copy" --reverse || return 1
    diff -r "$1" "$copy" || return 1
    "$here/apply.sh" "$copy" > /dev/null || return 1
    (build) > "$log" 2>&1 || { tail -n 20 "$log"; return 1; }
    if grep -n 'magvit.*warning:\|texi:.*warning:' "$log"; then return 1; fi
    "$here/apply.sh" "$copy" --reverse > /dev/null || return 1
    [ ! -e "$copy/libavfilter/magvit/magvit_filter.c" ]
}

[ $# -gt 0 ] || { echo "usage: $0 FFMPEG_SOURCE_DIR..."; exit 1; }
for tree; do
    if [ ! -f "$tree/libavfilter/allfilters.c" ]; then
        echo "not ok - $tree is not an FFmpeg source tree"; failed=$((failed + 1))
    elif check "$(cd "$tree" && pwd -P)"; then
        echo "ok - FFmpeg $release"; passed=$((passed + 1))
    else
        echo "not ok - $tree"; failed=$((failed + 1))
    fi
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
