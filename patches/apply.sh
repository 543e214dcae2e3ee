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
model=$(cd "$here/../tests/data" && pwd)/tiny.safetensors
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
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

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

# ---------------------------------------------------------------- documentation

# insertion FILE LINE TEXT: the hunk that puts the file TEXT before that line, or has put it there
insertion() {
    [ -n "$2" ] || die "the place for ${3##*/} is not found in $dir/$1"
    lines=$(wc -l < "$3")
    line=$2
    if sed -n "$((line - lines)),$((line - 1))p" "$dir/$1" | cmp -s - "$3"; then line=$((line - lines)); fi
    printf -- '--- a/%s\n+++ b/%s\n@@ -%d,2 +%d,%d @@\n' "$1" "$1" $((line - 1)) $((line - 1)) $((lines + 2))
    sed -n "$((line - 1))s/^/ /p" "$dir/$1"
    sed 's/^/+/' "$3"
    sed -n "$2s/^/ /p" "$dir/$1"
}

# before FILE LINE TEXT
before() {
    insertion "$1" "$(sed -n "/^$2\$/=" "$dir/$1" | head -n 1)" "$3"
}

# The text around the places is another in every release, so that these hunks are made for the tree
documentation() {
    echo "- MAGVIT video filters and source via libmagvit" > "$work/Changelog"
    insertion Changelog "$(awk 'NR == FNR { new = $0; next } /^version .*:$/ { found = 1; next }
        found && $0 != new { print FNR; exit }' "$work/Changelog" "$dir/Changelog")" "$work/Changelog"
    before doc/filters.texi '@section maskedclamp' "$here/filters.texi"
    before doc/filters.texi '@section mandelbrot' "$here/sources.texi"
    before doc/general_contents.texi '@section libvpx' "$here/libraries.texi"
}

# ---------------------------------------------------------------- patches

# try PATCH [OPTION...]
try() {
    file=$1; shift
    patch -d "$dir" -p1 -F0 -f -s --no-backup-if-mismatch "$@" < "$work/$file"
}

remove_sources() {
    if [ -L "$dir/libavfilter/magvit" ]; then
        rm "$dir/libavfilter/magvit"
    elif [ -f "$dir/libavfilter/magvit/magvit_filter.c" ]; then
        rm -r "$dir/libavfilter/magvit"
    fi
    rm -f "$dir/tests/fate/magvit.safetensors"
}

patches="$patches fate.patch"
for patch in $patches; do
    cp "$here/$patch" "$work"
done
patches="$patches documentation"
documentation > "$work/documentation"

# nothing is changed before everything is known to fit
wanted=
for patch in $patches; do
    if try "$patch" --dry-run -R > /dev/null 2>&1; then
        if [ $reverse = 1 ]; then wanted="$wanted $patch"; else echo "FFmpeg $release: $patch already applied"; fi
    elif [ "$patch" = documentation ] && grep -q '^@section magvit_' "$dir/doc/filters.texi"; then
        die "$dir/doc/filters.texi has sections of another version: take them out with its apply.sh --reverse"
    elif ! try "$patch" --dry-run > /dev/null 2>&1; then
        try "$patch" --dry-run >&2 || true
        die "$patch, or another version of it that is applied, does not fit FFmpeg $release (libavfilter $major.$minor)"
    elif [ $reverse = 1 ]; then
        echo "FFmpeg $release: $patch is not applied"
    else
        wanted="$wanted $patch"
    fi
done
for patch in $wanted; do
    if [ $reverse = 1 ]; then
        try "$patch" -R
        echo "FFmpeg $release: $patch taken out"
    else
        try "$patch"
        echo "FFmpeg $release: $patch applied"
    fi
done

# ---------------------------------------------------------------- files of our own

remove_sources
if [ $reverse = 1 ]; then
    exit 0
elif [ $copy = 1 ]; then
    mkdir "$dir/libavfilter/magvit"
    cp "$filters"/Makefile "$filters"/*.[ch] "$dir/libavfilter/magvit/"
    cp "$model" "$dir/tests/fate/magvit.safetensors"
else
    ln -s "$filters" "$dir/libavfilter/magvit"
    ln -s "$model" "$dir/tests/fate/magvit.safetensors"
fi
