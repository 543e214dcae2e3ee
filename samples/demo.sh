#!/bin/sh
#
# Show the three filters on a real clip, with the shipped model. Frames or parts
# of the picture are taken away from the clip and made again, so that what was
# really there can be shown beside what the model made.
# Part of libmagvit, LGPL-2.1-or-later, see LICENSE.
#
# usage: samples/demo.sh [CLIP]     any video file [the first one of samples/]
# Results: build/demo/. A clean machine first installs packages and builds.
set -eu

clip=${1:-}
[ -z "$clip" ] || [ -f "$clip" ] || { echo "demo.sh: no such file: $clip" >&2; exit 1; }
[ -z "$clip" ] || clip=$(cd "$(dirname "$clip")" && pwd)/$(basename "$clip")
cd "$(dirname "$0")/.."
[ -n "$clip" ] || clip=$(ls samples/*.mp4 | head -n 1)

tools/setup.sh

out=build/demo
mkdir -p $out
ff() { build/ffmpeg/ffmpeg -nostdin -hide_banner -nostats -y "$@"; }
lossless="-c:v ffv1 -fps_mode passthrough"
started=$(date +%s)

# two seconds of the clip, at most 480 pixels wide
ff -v error -i "$clip" -map 0:v:0 -frames:v 49 -vf "scale='trunc(min(iw,480)/2)*2':-2:flags=area,format=yuv420p" \
    $lossless $out/truth.mkv
probe() { build/ffmpeg/ffprobe -v error -select_streams v -show_entries "stream=$1" -of csv=p=0 $out/truth.mkv; }
w=$(probe width) h=$(probe height) rate=$(probe r_frame_rate)
echo "clip: $clip, ${w}x$h"

# contact_sheet GIVEN MADE FILE: three rows, frames 0, STEP, ...: what the filter
# was given, what it made, what was there
contact_sheet() {
    pick="trim=start_frame=$start:end_frame=$end,framestep=$step,scale=-2:120,tile=$(((end - start + step - 1) / step))x1:padding=2"
    ff -v error -i "$1" -i "$2" -i $out/truth.mkv -filter_complex \
        "[0]$pick[a];[1]$pick[b];[2]$pick[c];[a][b][c]vstack=3" -frames:v 1 "$3"
}

# side_by_side GIVEN MADE FILE: a video of the three
side_by_side() {
    ff -v error -i "$1" -i "$2" -i $out/truth.mkv -filter_complex "[0][1][2]hstack=3:shortest=1" -c:v mpeg4 -q:v 2 "$3"
}

# ---------------------------------------------------------------- interpolation

echo; echo "interpolation: three of four frames are dropped and made again"
ff -v info -i $out/truth.mkv -vf framestep=4,magvit_interp=factor=4,trim=end_frame=49 $lossless $out/interp.mkv 2>&1 |
    grep -a 'magvit_' || true
ff -v error -i $out/truth.mkv -vf "drawbox=t=fill:color=gray:enable=mod(n\,4)" $lossless $out/interp-given.mkv
start=8 end=17 step=1
contact_sheet $out/interp-given.mkv $out/interp.mkv $out/interp.png
ff -v error -i $out/truth.mkv -vf framestep=4,fps=$rate,trim=end_frame=49 $lossless $out/interp-held.mkv
side_by_side $out/interp-held.mkv $out/interp.mkv $out/interp.mp4

# psnr FILE: of the dropped frames against the truth; the last gap is left out, which the blend filter does not fill
psnr() {
    ff -v error -i "$1" -i $out/truth.mkv -filter_complex "[0]settb=1/1000[a];[1]settb=1/1000[b];[a][b]psnr=f=$out/psnr.txt" -f null -
    awk '(NR - 1) % 4 && NR <= 44 { sub(/.*mse_avg:/, ""); sum += $1; n++ }
         END { if (sum) printf "%.2f dB", 10 * log(255 * 255 * n / sum) / log(10) }' $out/psnr.txt
}
ff -v error -i $out/truth.mkv -vf framestep=4,minterpolate=fps=$rate:mi_mode=blend $lossless $out/interp-blend.mkv
echo "PSNR of the dropped frames: MAGVIT $(psnr $out/interp.mkv), blend of the neighbours $(psnr $out/interp-blend.mkv)," \
    "frames held $(psnr $out/interp-held.mkv)"

# ---------------------------------------------------------------- inpainting

echo; echo "inpainting: a rectangle is cut out and refilled"
rect=x=$((w * 2 / 5)):y=$((h * 2 / 5)):w=$((w / 5)):h=$((h / 4))
ff -v error -i $out/truth.mkv -vf "trim=end_frame=16,drawbox=$rect:t=fill:color=gray" $lossless $out/inpaint-given.mkv
ff -v info -i $out/inpaint-given.mkv -vf "magvit_inpaint=$rect" $lossless $out/inpaint.mkv 2>&1 | grep -a 'magvit_' || true
start=0 end=16 step=3
contact_sheet $out/inpaint-given.mkv $out/inpaint.mkv $out/inpaint.png
side_by_side $out/inpaint-given.mkv $out/inpaint.mkv $out/inpaint.mp4

# ---------------------------------------------------------------- outpainting

echo; echo "outpainting: the sides are cut off and made again"
side=$((w / 12 * 2))
ff -v error -i $out/truth.mkv -vf "trim=end_frame=16,drawbox=0:0:$side:ih:t=fill:color=gray,drawbox=iw-$side:0:$side:ih:t=fill:color=gray" \
    $lossless $out/outpaint-given.mkv
ff -v info -i $out/outpaint-given.mkv -vf "crop=iw-2*$side:ih:$side:0,magvit_outpaint=w=$w:h=$h:x=$side:y=0" \
    $lossless $out/outpaint.mkv 2>&1 | grep -a 'magvit_' || true
contact_sheet $out/outpaint-given.mkv $out/outpaint.mkv $out/outpaint.png
side_by_side $out/outpaint-given.mkv $out/outpaint.mkv $out/outpaint.mp4

rm -f $out/*-given.mkv $out/interp-held.mkv $out/interp-blend.mkv $out/psnr.txt
echo
echo "Done in $(($(date +%s) - started)) s. Rows of the pictures, columns of the videos: given, made, really there."
for name in interp inpaint outpaint; do
    echo "  $out/$name.png  $out/$name.mp4  $out/$name.mkv (lossless)"
done
