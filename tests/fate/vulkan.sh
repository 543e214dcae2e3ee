#!/bin/sh
#
# A handful of the filter tests on the Vulkan backend, from ffmpeg to the device
# and back: one of each task. Leaves with 77, skipped, where there is no
# backend or no driver.
# Part of libmagvit, LGPL-2.1-or-later, see LICENSE.
#
# usage: tests/fate/vulkan.sh [NAME...]   in the folder of the build; variables are those of run.sh

if ! build/magvit info --devices > /dev/null 2>&1; then
    echo "no Vulkan backend, or no driver (Debian package mesa-vulkan-drivers)"
    exit 77
fi
[ $# -gt 0 ] || set -- interp-hold inpaint-clip outpaint-stamps predict-class
BACKEND=vulkan exec sh "$(dirname "$0")/run.sh" "$@"
