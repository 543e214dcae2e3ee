#!/bin/sh
#
# Make everything that samples/demo.sh and tests/check.sh need: the packages
# that are missing (Debian and its relatives), the library, a patched ffmpeg.
# Part of libmagvit, LGPL-2.1-or-later, see LICENSE.
#
# usage: [MORE_PACKAGES="..."] tools/setup.sh [--with-ffmpeg-src=DIR]
set -eu
cd "$(dirname "$0")/.."

packages="gcc libc6-dev make pkg-config patch xz-utils nasm zlib1g-dev
          libdnnl-dev libzimg-dev libjansson-dev librandom123-dev libcunit1-dev
          libvulkan-dev libvulkan1 glslang-tools spirv-tools ${MORE_PACKAGES:-}"

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

missing=
if command -v dpkg-query > /dev/null; then
    for package in $packages; do
        dpkg-query -W -f '${Status}' "$package" 2> /dev/null | grep -q 'ok installed' || missing="$missing $package"
    done
fi
if [ -n "$missing" ]; then
    echo "installing$missing"
    export DEBIAN_FRONTEND=noninteractive
    as_root apt-get install -y -qq --no-install-recommends $missing > /dev/null 2>&1 || {
        as_root apt-get update -qq
        as_root apt-get install -y -qq --no-install-recommends $missing > /dev/null
    }
fi

[ -f config.mak ] || ./configure
make -j"$(nproc 2> /dev/null || echo 2)"
tools/build-ffmpeg.sh "$@"
