#!/bin/sh
# Add the MAGVIT filters to an FFmpeg source tree, or take them out again.
set -eu

usage() {
    cat <<EOF
usage: $0 DIR [--reverse] [--copy]
  DIR        FFmpeg source tree, release 5.1 to 9.0
  --reverse  undo
  --copy     copy the filter sources into the tree instead of linking to them
Running it twice is harmless.
EOF
}

die() { echo "apply.sh: $*" >&2; exit 1; }

here=$(cd "$(dirname "$0")" && pwd)
filters=$(cd "$here/../libavfilter-magvit" && pwd)
dir= reverse=0 copy=0
for arg; do
    case $arg in
    --reverse) reverse=1 ;;
    --copy)    copy=1 ;;
    -h|--help) usage; exit 0 ;;
    -*)        usage >&2; die "unknown option $arg" ;;
    *)         [ -z "$dir" ] || { usage >&2; die "one tree at a time"; }
               dir=$arg ;;
    esac
done
[ -n "$dir" ] || { usage >&2; exit 1; }
[ -f "$dir/libavfilter/allfilters.c" ] || die "$dir is not an FFmpeg source tree"
command -v patch >/dev/null || die "the program patch is missing"

# libavfilter's version tells the API; RELEASE (absent in a git clone) is for people
number() {
    sed -n "s/^#define LIBAVFILTER_VERSION_$1 *\([0-9]*\).*/\1/p" "$dir"/libavfilter/version*.h | head -n 1
}
major=$(number MAJOR)
minor=$(number MINOR)
release=$(cat "$dir/RELEASE" 2>/dev/null || echo unknown)
case $major in
8)  [ "$minor" -ge 44 ] || die "FFmpeg $release is too old, 5.1 is the first that works"
    patches="5.1-6.1.patch 5.1-exit-status.patch" ;;
9)  patches=5.1-6.1.patch ;;
10) patches=7.1.patch ;;
*)  patches=8.1-9.0.patch ;;
esac

# try PATCH [OPTION...]
try() {
    file=$1; shift
    patch -d "$dir" -p1 -F0 -f -s --no-backup-if-mismatch "$@" < "$here/$file"
}

remove_sources() {
    if [ -L "$dir/libavfilter/magvit" ]; then
        rm "$dir/libavfilter/magvit"
    elif [ -f "$dir/libavfilter/magvit/magvit_filter.c" ]; then
        rm -r "$dir/libavfilter/magvit"
    fi
}

for patch in $patches; do
    if try "$patch" --dry-run -R > /dev/null 2>&1; then applied=1; else applied=0; fi
    if [ $reverse$applied = 11 ]; then
        try "$patch" -R
        did="taken out"
    elif [ $reverse = 1 ]; then
        did="is not applied"
    elif [ $applied = 1 ]; then
        did="already applied"
    elif try "$patch" --dry-run > /dev/null 2>&1; then
        try "$patch"
        did=applied
    else
        try "$patch" --dry-run >&2 || true
        die "$patch does not fit FFmpeg $release (libavfilter $major.$minor)"
    fi
    echo "FFmpeg $release: $patch $did"
done

remove_sources
if [ $reverse = 1 ]; then
    exit 0
elif [ $copy = 1 ]; then
    mkdir "$dir/libavfilter/magvit"
    cp "$filters"/Makefile "$filters"/*.[ch] "$dir/libavfilter/magvit/"
else
    ln -s "$filters" "$dir/libavfilter/magvit"
fi
