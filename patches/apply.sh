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
    patch=5.1-6.1.patch ;;
9)  patch=5.1-6.1.patch ;;
10) patch=7.1.patch ;;
*)  patch=8.1-9.0.patch ;;
esac

try() { patch -d "$dir" -p1 -F0 -f -s --no-backup-if-mismatch "$@" < "$here/$patch"; }

remove_sources() {
    if [ -L "$dir/libavfilter/magvit" ]; then
        rm "$dir/libavfilter/magvit"
    elif [ -f "$dir/libavfilter/magvit/magvit_filter.c" ]; then
        rm -r "$dir/libavfilter/magvit"
    fi
}

if [ $reverse = 1 ]; then
    if try --dry-run -R >/dev/null 2>&1; then
        try -R
        remove_sources
        echo "FFmpeg $release: $patch taken out"
    else
        echo "FFmpeg $release: $patch is not applied"
    fi
    exit 0
fi

if try --dry-run -R >/dev/null 2>&1; then
    did="already applied"
elif try --dry-run >/dev/null 2>&1; then
    try
    did=applied
else
    try --dry-run >&2 || true
    die "$patch does not fit FFmpeg $release (libavfilter $major.$minor)"
fi

remove_sources
if [ $copy = 1 ]; then
    mkdir "$dir/libavfilter/magvit"
    cp "$filters"/Makefile "$filters"/*.[ch] "$dir/libavfilter/magvit/"
else
    ln -s "$filters" "$dir/libavfilter/magvit"
fi
echo "FFmpeg $release: $patch $did"
