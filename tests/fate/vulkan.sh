#!/bin/sh
#
# A handful of the filter tests on the Vulkan backend, from ffmpeg to the device
# and back: one of each task; and frames that are in Vulkan's memory outside of
# the filters as well, if ffmpeg has them. Leaves with 77, skipped, where there is no
# backend or no driver.
# Part of libmagvit, LGPL-2.1-or-later, see LICENSE.
#
# usage: tests/fate/vulkan.sh [NAME...]   in the folder of the build; variables are those of run.sh

if ! build/magvit info --devices > /dev/null 2>&1; then
    echo "no Vulkan backend, or no driver (Debian package mesa-vulkan-drivers)"
    exit 77
fi
here=$(dirname "$0")
FFMPEG=${FFMPEG:-build/ffmpeg/ffmpeg}

[ $# -gt 0 ] || set -- interp-hold inpaint-clip outpaint-stamps predict-class ahead hwframes-chain hwframes-device
BACKEND=vulkan FFMPEG=$FFMPEG sh "$here/run.sh" "$@"
