#!/bin/sh
# Render the sample clips and write MANIFEST.
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# usage: samples/render.sh [garden] [desk] [street]     (default: all)
#
# Needs POV-Ray 3.7 and an ffmpeg with libx264, PNG and tmix.  About ten minutes on one core.
# POVRAY, FFMPEG, FFPROBE choose the programs; SUB=1 FRAMES=9 gives a quick look (set OUT, or it replaces the clips).

set -eu

cd "$(dirname "$0")"

POVRAY=${POVRAY:-povray}
FFMPEG=${FFMPEG:-ffmpeg}
FFPROBE=${FFPROBE:-ffprobe}
OUT=${OUT:-.}
FPS=${FPS:-24}
FRAMES=${FRAMES:-49}
SUB=${SUB:-6}
CRF=${CRF:-20}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

render() {
    name=$1
    last=$((FRAMES * SUB - 1))
    digits=${#last}

    echo "$name: $FRAMES frames, $SUB renders each"
    if ! "$POVRAY" "+Iscenes/$name.pov" +Lscenes "+O$work/$name" +FN8 +W320 +H240 -A -D -P +WT1 \
         +KFI0 "+KFF$last" "Declare=Sub=$SUB" "Declare=Fps=$FPS" > "$work/log" 2>&1; then
        tail -n 20 "$work/log" >&2
        exit 1
    fi

    mix="format=gbrp,tmix=frames=$SUB,trim=start_frame=$((SUB - 1)),framestep=$SUB,setpts=PTS-STARTPTS"
    yuv="scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd+full_chroma_int,format=yuv420p"
    "$FFMPEG" -v error -y -threads 1 -framerate $((FPS * SUB)) -i "$work/$name%0${digits}d.png" \
        -filter_threads 1 -vf "$mix,$yuv" -c:v libx264 -threads 1 -preset veryslow -crf "$CRF" \
        -colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv \
        -fflags +bitexact -flags:v +bitexact -movflags +faststart "$OUT/$name.mp4"
    rm -f "$work/$name"*.png
}

probe() {
    "$FFPROBE" -v error -count_frames -select_streams v:0 -show_entries "stream=$2" -of default=nw=1:nk=1 "$1"
}

manifest() {
    printf 'file\torigin\tlicence\tsize\tframes\tfps\tsha256\n'
    for clip in "$OUT"/*.mp4; do
        name=$(basename "$clip" .mp4)
        sum=$(sha256sum "$clip")
        printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$name.mp4" "own work, rendered from scenes/$name.pov" LGPL-2.1-or-later \
            "$(probe "$clip" width)x$(probe "$clip" height)" "$(probe "$clip" nb_read_frames)" \
            "$(probe "$clip" r_frame_rate)" "${sum%% *}"
    done
}

[ $# -gt 0 ] || set -- garden desk street
for scene; do
    render "$scene"
done
manifest > "$work/MANIFEST"
cp "$work/MANIFEST" "$OUT/MANIFEST"
