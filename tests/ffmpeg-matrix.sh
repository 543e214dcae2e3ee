#!/bin/sh
#
# The filter tests on every supported FFmpeg: fetch a source package of it from
# a Debian suite, patch it, build it small, run tests/fate on it.
# Part of libmagvit, LGPL-2.1-or-later, see LICENSE.
#
# usage: tests/ffmpeg-matrix.sh [SUITE[=RELEASE]|DIR...]   [bookworm trixie sid=8.1 sid: 5.1, 7.1, 8.1, 9.0]
#        RELEASE: the newest one that begins so, where a suite keeps an old one beside the newest
#        DIR: a source tree, of a release that no suite has, as 6.1; it is copied, not changed
#
# MIRROR    a Debian mirror [the first that this machine's apt names, else deb.debian.org]
# TESTS     names of the tests to run, see tests/fate/list.txt [all]
#
# Everything lies in build/matrix/SUITE of the current folder and is kept: a
# second run only tests again. Prints a line a suite, and last "N passed, N
# failed", with ", N skipped" if a source could not be had. Leaves with 1 if
# something failed, with 77 if nothing did but something was skipped.
set -u

root=$(cd "$(dirname "$0")/.." && pwd -P)
matrix=$(pwd -P)/build/matrix
[ $# -gt 0 ] || set -- bookworm trixie sid=8.1 sid
if [ -z "${MIRROR:-}" ]; then
    MIRROR=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2> /dev/null |
        sed -n 's/^deb .*\(https*:[^ ]*\/debian\)\/* .*/\1/p; s/^URIs: *\(https*:[^ ]*\/debian\)\/* *$/\1/p' | head -n 1)
    MIRROR=${MIRROR:-http://deb.debian.org/debian}
fi

# private_apt PROGRAM ARGUMENT...: with the mirror's sources and indexes of its own
private_apt() {
    program=$1; shift
    "$program" -o Dir::Etc::sourcelist="$dir/apt/sources.list" -o Dir::Etc::sourceparts="$dir/apt/parts" \
        -o Dir::State::lists="$dir/apt/lists" -o Dir::Cache="$dir/apt/cache" -o APT::Sandbox::User=root \
        -o Acquire::Languages=none -o Acquire::Retries=3 "$@"
}

# fetch SUITE [RELEASE]: unpack its newest ffmpeg into $dir/src; the tree alone, as packages of sid may lack the rest
fetch() {
    [ ! -f "$dir/src/RELEASE" ] || return 0
    command -v apt-get > /dev/null || { echo "no apt-get here: give source trees"; return 1; }
    rm -rf "$dir/apt" "$dir/src" "$dir/src.new" "$dir"/ffmpeg_*
    mkdir -p "$dir/apt/parts" "$dir/apt/lists/partial" "$dir/apt/cache/archives/partial" "$dir/src.new" || return
    echo "deb-src $MIRROR $1 main" > "$dir/apt/sources.list"
    private_apt apt-get update --error-on=any || return
    version=$(private_apt apt-cache showsrc ffmpeg | sed -n 's/^Version: //p' | grep "^\([0-9]*:\)*${2:-}" | sort -rV | head -n 1)
    [ -n "$version" ] || { echo "$1 has no FFmpeg ${2:-}"; return 1; }
    (cd "$dir" && private_apt apt-get source --download-only --tar-only "ffmpeg=$version") || return
    tar -C "$dir/src.new" --strip-components=1 -xf "$(ls "$dir"/ffmpeg_*.orig.tar.?z* | grep -v '\.asc$')" || return
    mv "$dir/src.new" "$dir/src"
}

# build: library and ffmpeg
build() {
    cd "$dir" || return
    [ -f config.mak ] || "$root/configure" || return
    make -j"${JOBS:-2}" && "$root/tools/build-ffmpeg.sh" --with-ffmpeg-src="$dir/src"
}

passed=0 failed=0 skipped=0
for given; do
    tree=
    [ ! -f "$given/RELEASE" ] || tree=$given
    case $given in
    */*) [ -n "$tree" ] || { echo "$0: $given is not an FFmpeg source tree" >&2; exit 1; } ;;
    esac
    suite=${given%%=*} release=${given#"$suite"}
    [ -z "$tree" ] || { suite=release-$(cat "$tree/RELEASE"); release=; }
    release=${release#=}
    dir=$matrix/$suite${release:+-$release}
    mkdir -p "$dir" || exit 1
    [ -z "$tree" ] || [ -d "$dir/src" ] || cp -r "$tree" "$dir/src" || exit 1
    log=$dir/log
    result="not ok"
    if ! fetch "$suite" "$release" > "$log" 2>&1; then
        result=skipped
        what="no source from $MIRROR: $(grep . "$log" | tail -n 1)"
    elif ! (build) >> "$log" 2>&1; then
        what="FFmpeg $(cat "$dir/src/RELEASE"): build failed: $(tail -n 1 "$log")"
    else
        # shellcheck disable=SC2086
        (cd "$dir" && sh "$root/tests/fate/run.sh" ${TESTS:-}) >> "$log" 2>&1 && result=ok
        what="FFmpeg $(cat "$dir/src/RELEASE"): $(tail -n 1 "$log")"
    fi
    echo "$result - $given, $what"
    case $result in
    ok)      passed=$((passed + 1)) ;;
    skipped) skipped=$((skipped + 1)) ;;
    *)       failed=$((failed + 1)); awk '/^not ok/ { bad = 1 } /^(ok|1\.\.)/ { bad = 0 } bad' "$log" | sed 's/^\(# \)*/# /'; echo "# see $log" ;;
    esac
done
sum="$passed passed, $failed failed"
[ $skipped = 0 ] || sum="$sum, $skipped skipped"
echo "$sum"
[ $failed = 0 ] || exit 1
[ $skipped = 0 ] || exit 77
