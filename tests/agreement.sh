#!/bin/sh
#
# How many tokens bf16 and int8 share with float32, on the first window of real
# clips: see tests/agreement/agreement.c for what the columns mean.
# Part of libmagvit, LGPL-2.1-or-later, see LICENSE.
#
# usage: tests/agreement.sh [OPTION...] [CLIP...]     options of build/tests/agreement [the samples]
#
# FFMPEG    a program that decodes the clips [build/ffmpeg/ffmpeg, else ffmpeg]
#
# Run it in the build folder. Leaves with 0, 77 if there is no ffmpeg or no such
# precision here, 1 if figures over all clips are below the limits: 98 percent of
# the likeliest codes of a step, 95 of the tokens of a whole greedy decoding.
root=$(cd "$(dirname "$0")/.." && pwd -P)
ffmpeg=${FFMPEG:-$(pwd -P)/build/ffmpeg/ffmpeg}
[ -x "$ffmpeg" ] || ffmpeg=$(command -v ffmpeg) || { echo "no ffmpeg to decode clips with"; exit 77; }

options="--min-step=98 --min-decoding=95"
while case ${1:-} in --*) ;; *) false ;; esac; do
    options="$options $1"; shift
done
[ $# -gt 0 ] || set -- "$root"/samples/*.mp4
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
n=0
for clip; do
    n=$((n + 1))
    "$ffmpeg" -nostdin -v error -i "$clip" -frames:v 64 -pix_fmt yuv444p -vf \
        "scale=128:128:force_original_aspect_ratio=increase:out_range=tv:out_color_matrix=smpte170m,crop=128:128,setparams=colorspace=smpte170m:range=tv" \
        -strict -1 -f yuv4mpegpipe "$tmp/$(printf %03d $n).y4m" || exit 1
done
# shellcheck disable=SC2086
build/tests/agreement $options "$tmp"/*.y4m
