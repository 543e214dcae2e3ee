#!/bin/sh
#
# The filter tests on every supported FFmpeg: for each Debian suite fetch the
# source package of its ffmpeg, patch it, build it small, run tests/fate on it.
# Part of libmagvit, LGPL-2.1-or-later, see LICENSE.
#
# usage: tests/ffmpeg-matrix.sh [SUITE|DIR...]     [bookworm trixie sid: 5.1, 7.1, 9.0]
#        DIR: a source tree of a release that no suite has, as 8.1; it is copied, not changed
#
# MIRROR    a Debian mirror [the first that this machine's apt names, else deb.debian.org]
# TESTS     names of the tests to run, see tests/fate/list.txt [all]
#
# Everything lies in build/matrix/SUITE of the current folder and is kept: a
# second run only tests again. Prints a line a suite, and last "N passed, N failed".
set -u

root=$(cd "$(dirname "$0")/.." && pwd -P)
matrix=$(pwd -P)/build/matrix
[ $# -gt 0 ] || set -- bookworm trixie sid
command -v apt-get > /dev/null || { echo "no apt-get here: give trees to tools/build-ffmpeg.sh --with-ffmpeg-src=DIR"; exit 1; }
if [ -z "${MIRROR:-}" ]; then
    MIRROR=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2> /dev/null |
        sed -n 's/^deb .*\(https*:[^ ]*\/debian\)\/* .*/\1/p; s/^URIs: *\(https*:[^ ]*\/debian\)\/* *$/\1/p' | head -n 1)
    MIRROR=${MIRROR:-http://deb.debian.org/debian}
fi

# fetch SUITE: unpack the newest ffmpeg of a suite into build/matrix/SUITE/src, with indexes of its own
fetch() {
    dir=$matrix/$1
    [ -f "$dir/src/RELEASE" ] && return
    rm -rf "$dir/apt" "$dir/src"
    mkdir -p "$dir/apt/parts" "$dir/apt/lists/partial" "$dir/apt/cache/archives/partial" "$dir/src.new" || return
    echo "deb-src $MIRROR $1 main" > "$dir/apt/sources.list"
    apt="-o Dir::Etc::sourcelist=$dir/apt/sources.list -o Dir::Etc::sourceparts=$dir/apt/parts
         -o Dir::State::lists=$dir/apt/lists -o Dir::Cache=$dir/apt/cache -o APT::Sandbox::User=root -o Acquire::Languages=none"
    # shellcheck disable=SC2086
    apt-get $apt update || return
    # shellcheck disable=SC2086
    (cd "$dir" && apt-get $apt source --download-only --tar-only ffmpeg) || return
    tar -C "$dir/src.new" --strip-components=1 -xf "$(ls "$dir"/ffmpeg_*.orig.tar.?z* | grep -v '\.asc$' | tail -n 1)" || return
    mv "$dir/src.new" "$dir/src"
}

# build SUITE: library and ffmpeg
build() {
    mkdir -p "$matrix/$1" && cd "$matrix/$1" || return
    [ -f config.mak ] || "$root/configure" || return
    make -j"${JOBS:-2}" && "$root/tools/build-ffmpeg.sh" --with-ffmpeg-src="$matrix/$1/src"
}

passed=0 failed=0
for suite; do
    if [ -f "$suite/RELEASE" ]; then
        given=$(cd "$suite" && pwd -P) suite=release-$(cat "$suite/RELEASE")
        mkdir -p "$matrix/$suite"
        [ -d "$matrix/$suite/src" ] || cp -r "$given" "$matrix/$suite/src" || exit 1
    fi
    mkdir -p "$matrix/$suite"
    log=$matrix/$suite/log
    result="not ok"
    if ! fetch "$suite" > "$log" 2>&1; then
        what="no source package"
    elif ! (build "$suite") >> "$log" 2>&1; then
        what="FFmpeg $(cat "$matrix/$suite/src/RELEASE"): build failed"
    else
        # shellcheck disable=SC2086
        (cd "$matrix/$suite" && sh "$root/tests/fate/run.sh" ${TESTS:-}) >> "$log" 2>&1 && result=ok
        what="FFmpeg $(cat "$matrix/$suite/src/RELEASE"): $(tail -n 1 "$log")"
    fi
    echo "$result - $suite, $what"
    if [ "$result" = ok ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "# see $log"; fi
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
