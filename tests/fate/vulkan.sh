#!/bin/sh
#
# A handful of the filter tests on the Vulkan backend, from ffmpeg to the device
# and back: one of each task; and the graph of doc/FILTERS.md for frames in
# device memory, if ffmpeg has them. Leaves with 77, skipped, where there is no
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

# upload, download and what is between: frames in device memory come and go
ff() {
    timeout 300 "$FFMPEG" -nostdin -hide_banner -v error -init_hw_device vulkan=v -filter_hw_device v -f lavfi \
        -i testsrc2=size=32x32:rate=5,trim=end_frame=2,format=nv12 -vf "hwupload,$1,hwdownload,format=nv12" -f framemd5 -
}
status=0
graph=$(sed -n 's/^    \(hwdownload,.*hwupload\)$/\1/p' "$here/../../doc/FILTERS.md")
if ! "$FFMPEG" -hide_banner -filters 2> /dev/null | grep -q hwupload || ! ff null > /dev/null 2>&1; then
    echo "this ffmpeg has no frames in Vulkan's memory: the graph for them is not tested"
elif [ "$(ff "$(echo "$graph" | sed "s|magvit_interp=|&model=$here/../data/tiny.safetensors:|")" | grep -c '^0,')" = 4 ]; then
    echo "ok - frames in device memory"
else
    echo "not ok - frames in device memory"
    status=1
fi

[ $# -gt 0 ] || set -- interp-hold inpaint-clip outpaint-stamps predict-class
BACKEND=vulkan FFMPEG=$FFMPEG sh "$here/run.sh" "$@" && exit $status
