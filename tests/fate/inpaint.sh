# Tests of magvit_inpaint that look at single samples: where exactly a hole is, in
# every kind of format, from rectangles, picture files and a second input.
# Part of libmagvit, LGPL-2.1-or-later, see LICENSE.
#
# A hole is an awk expression of x, y and n (the frame), such as "x<9+n&&y>5".

# mask WIDTH HEIGHT FRAMES EXPRESSION: raw gray frames, of values 1 to 255
mask() {
    awk -v w="$1" -v h="$2" -v frames="$3" 'BEGIN {
        for (n = 0; n < frames; n++) for (y = 0; y < h; y++) for (x = 0; x < w; x++) printf "%c", ('"$4"')
    }'
}

# pgm WIDTH HEIGHT EXPRESSION
pgm() { printf 'P5 %d %d 255\n' "$1" "$2"; mask "$1" "$2" 1 "$3"; }

# layout FORMAT: planes, chroma shifts, bytes a sample
layout() {
    case $1 in
    gray)      echo 1 0 0 1 ;;
    gray16le)  echo 1 0 0 2 ;;
    yuv4[24]*p10le) echo 3 1 $(case $1 in yuv420*) echo 1 ;; *) echo 0 ;; esac) 2 ;;
    yuv*420p)  echo $(case $1 in yuva*) echo 4 ;; *) echo 3 ;; esac) 1 1 1 ;;
    yuv411p)   echo 3 2 0 1 ;;
    yuv440p)   echo 3 0 1 1 ;;
    yuv444p|gbrp) echo 3 0 0 1 ;;
    gbrpf32le) echo 3 0 0 4 ;;
    gbrap12le) echo 4 0 0 2 ;;
    esac
}

# changes FORMAT WIDTH HEIGHT FRAMES HOLE [exact]: between in.raw and out.raw only samples of the hole differ, some
# in each frame that has one; exact: all of them
changes() {
    [ "$(wc -c < "$tmp/in.raw")" = "$(wc -c < "$tmp/out.raw")" ] ||
        note "$1: $(wc -c < "$tmp/out.raw") bytes came out of $(wc -c < "$tmp/in.raw")" || return 1
    cmp -l "$tmp/in.raw" "$tmp/out.raw" | awk -v layout="$(layout "$1")" -v w="$2" -v h="$3" -v frames="$4" -v exact="$6" '
        function covers(n, x, y, sw, sh,    i, j) { # does a sample belong to the hole: one of its pixels does
            for (j = y * 2^sh; j < (y + 1) * 2^sh && j < h; j++)
                for (i = x * 2^sw; i < (x + 1) * 2^sw && i < w; i++)
                    if (hole(i, j, n)) return 1
            return 0
        }
        function hole(x, y, n) { return '"$5"' }
        BEGIN {
            split(layout, l, " ")
            for (i = 0; i < l[1]; i++) {
                sw[i] = i == 1 || i == 2 ? l[2] : 0; pw[i] = int((w + 2^sw[i] - 1) / 2^sw[i])
                sh[i] = i == 1 || i == 2 ? l[3] : 0; size[i] = pw[i] * int((h + 2^sh[i] - 1) / 2^sh[i]) * l[4]
                all += size[i]
            }
        }
        {
            at = $1 - 1; n = int(at / all); at -= n * all
            for (i = 0; at >= size[i]; i++) at -= size[i]
            at = int(at / l[4]); x = at % pw[i]; y = int(at / pw[i])
            if (i == 3 || !covers(n, x, y, sw[i], sh[i])) {
                if (!bad++) print "frame " n " plane " i ": a known sample at " x "," y " changed"
            } else if (!((n, i, at) in seen)) {
                seen[n, i, at] = 1; changed[n]++
            }
        }
        END {
            for (n = 0; n < frames; n++) {
                wanted = 0
                for (y = 0; y < h; y++) for (x = 0; x < w; x++) wanted += hole(x, y, n) ? 1 : 0
                if ((wanted && !changed[n]) || (exact && wanted != changed[n] + 0)) {
                    bad++; print "frame " n ": " changed[n] + 0 " samples changed, expected " wanted
                }
            }
            exit bad > 0
        }' > "$tmp/changes" || note "$1 $5: $(head -n 3 "$tmp/changes" | paste -s -d';')"
}

# odd SIZE FRAMES FORMAT: a source of that very size; testsrc2 rounds it to whole chroma samples
odd() { echo "$(source 96x72 10 "$2" "$3"),crop=${1%x*}:${1#*x}:40:30:exact=1"; }

# raw SOURCE FILTER [INPUT...]: in.raw and out.raw, the second through the filter
raw() {
    src=$1 filter=$2; shift 2
    ff -f lavfi -i "$src" -fps_mode passthrough -f rawvideo "$tmp/in.raw" &&
    ff -f lavfi -i "$src" "$@" -filter_complex "$filter" -fps_mode passthrough -f rawvideo "$tmp/out.raw"
}

# shown OPTIONS WIDTH HEIGHT FRAMES HOLE [INPUT...]: show=mask draws that hole and needs no model
drawn() {
    options=$1 w=$2 h=$3 frames=$4 expected=$5; shift 5
    inputs='[0:v]'; [ $# = 0 ] || inputs='[0:v][1:v]'
    raw "$(odd "${w}x$h" "$frames" gray)" "${inputs}magvit_inpaint=$options:show=mask:model=$tmp/none" "$@" &&
    changes gray "$w" "$h" "$frames" "$expected" exact
}

test_inpaint_moving_known() {
    for format in $formats; do
        raw "$(odd 41x33 5 "$format")" "magvit_inpaint=x=3+5*n:y=(ih-h)/2:w=11:h=9:$opts" &&
        changes "$format" 41 33 5 'x>=3+5*n&&x<14+5*n&&y>=12&&y<21' || return 1
    done
}

test_inpaint_mask_known() {
    disc='(x-15)^2+(y-13)^2<81'
    pgm 37 29 "$disc?255:1" > "$tmp/mask.pgm"
    ff -i "$tmp/mask.pgm" "$tmp/mask.png" || return 1
    for format in $formats; do
        raw "$(odd 37x29 2 "$format")" "magvit_inpaint=mask=$tmp/mask.png:$opts" &&
        changes "$format" 37 29 2 "$disc" || return 1
    done
    md5 "$(odd 37x29 2 yuv420p)" "magvit_inpaint=mask=$tmp/mask.png:$opts" > "$tmp/a" &&
    md5 "$(odd 37x29 2 yuv420p)" "magvit_inpaint=mask=$tmp/mask.pgm:$opts" > "$tmp/b" || return 1
    same "PNG and PGM" "$tmp/a" "$tmp/b"
}

test_inpaint_mask_shape() {
    pgm 40 20 '1+x*6' > "$tmp/ramp.pgm" # 128, the first above one half, is at 22
    drawn "mask=$tmp/ramp.pgm" 40 20 1 'x>=22' &&
    drawn "mask=$tmp/ramp.pgm:threshold=0.25" 40 20 1 '1+x*6>=63.75' &&
    drawn "mask=$tmp/ramp.pgm:threshold=0.9:invert=1" 40 20 1 '1+x*6<229.5' || return 1
    pgm 40 20 'x==20&&y==6||x==3&&y==18?255:1' > "$tmp/dots.pgm"
    drawn "mask=$tmp/dots.pgm:dilate=5" 40 20 1 '(x-20)^2+(y-6)^2<=25||(x-3)^2+(y-18)^2<=25' &&
    drawn "x=10:y=5:w=18:h=9:invert=1:dilate=2" 40 20 1 '!(x>=12&&x<26&&y>=7&&y<12)' &&
    drawn "x=2*n:y=3:w=6:h=5:dilate=1" 40 20 4 'x>=2*n-1&&x<2*n+7&&y>=2&&y<9&&!((x==2*n-1||x==2*n+6)&&(y==2||y==8))' || return 1
    # other kinds of pictures: two bits, a palette, RGB with alpha, limited YUV
    for convert in "format=monob $tmp/ramp.png" "format=pal8 $tmp/ramp.png" "format=rgba $tmp/ramp.png" \
        "format=gray16be $tmp/ramp.png" "format=rgb24 $tmp/ramp.ppm" "format=yuv420p $tmp/ramp.mkv"; do
        pgm 40 20 'x>=22?255:1' > "$tmp/half.pgm"
        ff -i "$tmp/half.pgm" -vf "${convert% *}" -c:v "$(case $convert in *mkv) echo ffv1 ;; *ppm) echo ppm ;; *) echo png ;; esac)" \
            -f "$(case $convert in *mkv) echo matroska ;; *) echo image2 ;; esac)" "${convert#* }" &&
        drawn "mask=${convert#* }" 40 20 1 'x>=22' || note "${convert% *}" || return 1
    done
}

test_inpaint_mask_input() {
    moving='x>=3+2*n&&x<14+2*n&&y>=5&&y<14'
    mask 41 33 4 "$moving?255:1" > "$tmp/mask.raw"
    second="-f rawvideo -pixel_format gray -video_size 41x33 -framerate 10"
    main=mask_input=1
    # as many frames: a hole of its own for each
    drawn $main 41 33 4 "$moving" $second -i "$tmp/mask.raw" || return 1
    # the mask is shorter: its last frame is repeated, or nothing is refilled, or the output ends
    held='x>=3+2*(n<3?n:3)&&x<14+2*(n<3?n:3)&&y>=5&&y<14'
    drawn $main 41 33 7 "$held" $second -i "$tmp/mask.raw" &&
    drawn $main:eof_action=repeat 41 33 7 "$held" $second -i "$tmp/mask.raw" &&
    drawn $main:eof_action=pass 41 33 7 "n<4&&$moving" $second -i "$tmp/mask.raw" &&
    drawn $main:repeatlast=0 41 33 7 "n<4&&$moving" $second -i "$tmp/mask.raw" || return 1
    for option in shortest=1 eof_action=endall; do
        ff -f lavfi -i "$(odd 41x33 7 gray)" $second -i "$tmp/mask.raw" \
            -filter_complex "[0][1]magvit_inpaint=$main:$option:$opts" -fps_mode passthrough -f framemd5 "$tmp/md5" || return 1
        grep -v '^#' "$tmp/md5" > "$tmp/frames"; count "$option" 4 "$tmp/frames" || return 1
    done
    # the mask is longer, or never ends: the output has the frames of the first input
    mask 41 33 9 "$moving?255:1" > "$tmp/long.raw"
    drawn $main 41 33 4 "$moving" $second -i "$tmp/long.raw" || return 1
    pgm 41 33 'x<9?255:1' > "$tmp/still.pgm"
    drawn $main 41 33 5 'x<9' -loop 1 -i "$tmp/still.pgm" || return 1
    # half the rate; a late start
    drawn $main 41 33 6 "x>=3+2*int(n/2)&&x<14+2*int(n/2)&&y>=5&&y<14" ${second%10}5 -i "$tmp/mask.raw" &&
    drawn $main 41 33 6 "n>=2&&x>=3+2*(n-2)&&x<14+2*(n-2)&&y>=5&&y<14" -itsoffset 0.2 $second -i "$tmp/mask.raw" || return 1
    # luma counts, whatever the format
    drawn $main:threshold=0.6 41 33 1 1 -f lavfi -i "color=white:size=48x40:rate=10,format=yuv420p,crop=41:33:0:0:exact=1" &&
    drawn $main:threshold=0.3 41 33 1 0 -f lavfi -i "color=blue:size=41x33:rate=10,format=gbrp" || return 1
    # and the model makes of it what it makes of the rectangle
    src=$(odd 41x33 4 yuv420p)
    md5 "$src" "magvit_inpaint=x=3+2*n:y=5:w=11:h=9:$opts" > "$tmp/a" || return 1
    ff -f lavfi -i "$src" $second -i "$tmp/mask.raw" -filter_complex "[0][1]magvit_inpaint=$main:$opts" \
        -fps_mode passthrough -f framemd5 "$tmp/md5" || return 1
    sed -n 's/^0,.*, *//p' "$tmp/md5" > "$tmp/b"
    same "rectangle and second input" "$tmp/a" "$tmp/b" || return 1
    # no mask frame at all: nothing is refilled
    drawn $main 41 33 2 0 -f lavfi -i "color=white:size=41x33:rate=10,format=gbrp,trim=end_frame=0"
}

test_inpaint_enable() {
    src=$(odd 41x33 6 yuv420p)
    raw "$src" "magvit_inpaint=x=3:y=5:w=11:h=9:enable=between(n\,2\,3):$opts" &&
    changes yuv420p 41 33 6 'n>=2&&n<4&&x>=3&&x<14&&y>=5&&y<14' || return 1
    # a whole frame, from the frames around it
    raw "$src" "magvit_inpaint=x=0:y=0:w=iw:h=ih:enable=eq(n\,2):$opts" && changes yuv420p 41 33 6 n==2
}

test_inpaint_commands() {
    raw "$(odd 41x33 6 gray)" "sendcmd=c='0.2 magvit_inpaint x 20, magvit_inpaint w 5+n;0.4 magvit_inpaint y h',magvit_inpaint=x=3:y=5:w=11:h=9:show=mask" &&
    changes gray 41 33 6 'n<2?x>=3&&x<14&&y>=5&&y<14:x>=20&&x<25+n&&y>=(n<4?5:9)&&y<(n<4?14:18)' exact || return 1
    # what is not an expression changes nothing
    raw "$(odd 41x33 3 gray)" "sendcmd=c='0.1 magvit_inpaint x foo',magvit_inpaint=x=3:y=5:w=11:h=9:show=mask" 2> "$tmp/err"
    changes gray 41 33 3 'x>=3&&x<14&&y>=5&&y<14' exact && grep -q 'Option x: foo is not valid' "$tmp/err" || note "$(cat "$tmp/err")"
}

test_inpaint_feather() {
    # a flat gray frame with a black hole: the strip along the inside is between both, the rest as without feather
    for feather in 0 4; do
        ff -f lavfi -i "color=gray:size=40x32:rate=10,trim=end_frame=2,format=gray,drawbox=x=8:y=6:w=20:h=20:color=black:t=fill" \
            -vf "magvit_inpaint=x=8:y=6:w=20:h=20:feather=$feather:$opts" -f rawvideo "$tmp/f$feather.raw" || return 1
    done
    od -An -v -tu1 -w40 "$tmp/f0.raw" > "$tmp/hard"
    od -An -v -tu1 -w40 "$tmp/f4.raw" | paste -d' ' "$tmp/hard" - | awk '
        function least(a, b) { return a < b ? a : b }
        {
            y = (NR - 1) % 32
            for (x = 0; x < 40; x++) {
                d = least(least(x - 7, 28 - x), least(y - 5, 26 - y)); d = d < 0 ? 0 : least(d, 5)
                own = d > 0 ? black : gray; made = $(x + 1)
                if (NR == 1 && !x) gray = own = made
                want = d > 0 ? made * d / 5 : made
                got = $(x + 41)
                if (d == 0 && got != gray) bad++
                if (got - want > 20 || want - got > 20) bad++
            }
        }
        END { if (bad) print bad " samples are not those of a ramp"; exit bad > 0 }'
}

test_inpaint_tiles() {
    # two holes far apart: only the tiles that one of them lies in are computed
    pgm 200 150 'x<12&&y<12||x>188&&y>138?255:1' > "$tmp/mask.pgm"
    ff -v verbose -f lavfi -i "$(source 200x150 10 3 yuv420p)" -vf "magvit_inpaint=mask=$tmp/mask.pgm:scale=tile:$opts" -f null - 2> "$tmp/err" || return 1
    sed -n 's/.*window 0: \([0-9]*\) of \([0-9]*\) tiles.*/\1 \2/p' "$tmp/err" > "$tmp/tiles"
    read -r some all < "$tmp/tiles"
    [ "${some:-99}" -le 4 ] && [ "${all:-0}" -ge 20 ] || note "tiles: $(cat "$tmp/tiles")" || return 1
    # no hole, no window
    ff -v verbose -f lavfi -i "$(source 200x150 10 40 yuv420p)" -vf "magvit_inpaint=x=0:y=0:w=9:h=9:enable=gt(n\,99):$opts" -f null - 2> "$tmp/err" || return 1
    ! grep -q 'window [0-9]*:' "$tmp/err" || note "a window without hole is computed"
}

test_inpaint_seam() {
    # Flat content of any level: beside the border, inside and outside have the same mean. The texture of this
    # untrained model is strong (standard deviation 3.5), so one strip may be off by two of 255, their mean by one.
    for level in 40 128 200; do
        for rect in 20:20:24:24 0:10:30:17 13:9:70:50; do
            ff -f lavfi -i "color=gray:size=96x80:rate=10,trim=end_frame=3,format=gray,lut=$level" \
                -vf "magvit_inpaint=$(echo "$rect" | awk -F: '{ printf "x=%d:y=%d:w=%d:h=%d", $1, $2, $3, $4 }'):$opts" -f rawvideo "$tmp/seam.raw" || return 1
            od -An -v -tu1 -w96 "$tmp/seam.raw" | awk -v rect="$rect" -v level="$level" '
                BEGIN { split(rect, r, ":") }
                {
                    y = (NR - 1) % 80
                    for (x = 0; x < 96; x++) {
                        in_x = x >= r[1] && x < r[1] + r[3]; in_y = y >= r[2] && y < r[2] + r[4]
                        if (!(in_x && in_y)) continue
                        d = r[1] ? x - r[1] : 999
                        v = r[1] + r[3] - 1 - x; d = v < d ? v : d
                        v = r[2] ? y - r[2] : 999; d = v < d ? v : d
                        v = r[2] + r[4] - 1 - y; d = v < d ? v : d
                        if (d < 4) { sum += $(x + 1); n++ }
                    }
                }
                END { off = sum / n - level; print off < 0 ? -off : off }' >> "$tmp/off"
        done
    done
    awk '$1 > 2 { bad = 1 } { sum += $1 } END { exit bad || NR != 9 || sum > 9 }' "$tmp/off" ||
        note "strips of 4 pixels inside are off by $(paste -s -d' ' "$tmp/off")"
}

test_inpaint_errors() {
    src=$(source 16x16 10 3 yuv420p)
    pgm 8 9 255 > "$tmp/small.pgm"; pgm 16 16 255 > "$tmp/white.pgm"; pgm 16 16 1 > "$tmp/black.pgm"; pgm 16 16 'x<5?255:1' > "$tmp/mask.pgm"
    echo "this is a text" > "$tmp/text.png"
    try() { refuses "$1" -f lavfi -i "$src" -vf "magvit_inpaint=$2:$opts"; }
    try "w: -4 is -4"            x=1:y=1:w=-4:h=4 &&
    try "h: 0/0 is"              x=1:y=1:w=4:h=0/0 &&
    try "x: w/0 is"              x=w/0:y=1:w=4:h=4 &&
    try "w: 1-n is -1 at frame 2" x=1:y=1:w=1-n:h=4 &&
    try "whole frame"            x=0:y=0:w=iw:h=ih &&
    try "whole frame"            x=2:y=2:w=12:h=12:dilate=4 &&
    try "no hole"                x=2:y=2:w=0:h=4 &&
    try "y is not set"           x=2:w=4:h=4 &&
    try "none.png cannot be opened" mask="$tmp/none.png" &&
    try "text.png"               mask="$tmp/text.png" &&
    try "8x9, expected 16x16"    mask="$tmp/small.pgm" &&
    try "whole frame"            mask="$tmp/white.pgm" &&
    try "no hole"                mask="$tmp/black.pgm" &&
    try "x: 3 is set beside mask," mask="$tmp/mask.pgm":x=3 &&
    try "beside mask_input"      mask="$tmp/mask.pgm":mask_input=1 || return 1
    refuses "second input is 8x9, expected 16x16" -f lavfi -i "$src" -i "$tmp/small.pgm" -filter_complex "[0][1]magvit_inpaint=mask_input=1:$opts" &&
    refuses "h: 4 is set beside mask_input" -f lavfi -i "$src" -i "$tmp/mask.pgm" -filter_complex "[0][1]magvit_inpaint=mask_input=1:h=4:$opts"
}

# every command of doc/FILTERS.md about the filter
test_inpaint_examples() {
    ff -f lavfi -i "$(source 160x120 10 4 yuv420p)" -c:v ffv1 -f matroska "$tmp/in.mp4" && cp "$tmp/in.mp4" "$tmp/in.mkv" || return 1
    pgm 160 120 'x>100&&x<130&&y<30?255:1' > "$tmp/logo.pgm"
    ff -i "$tmp/logo.pgm" "$tmp/logo.png" && ff -loop 1 -i "$tmp/logo.pgm" -frames:v 4 -c:v ffv1 "$tmp/mask.mkv" || return 1
    sed -n '/^## magvit_inpaint/,/^## magvit_outpaint/s/^    ffmpeg //p' doc/FILTERS.md > "$tmp/examples"
    [ "$(lines "$tmp/examples")" -ge 6 ] || note "$(lines "$tmp/examples") examples" || return 1
    model=$PWD/$tiny
    while read -r arguments; do
        (cd "$tmp" && rm -f out.mkv && eval "MAGVIT_MODEL_PATH=$model timeout 300 '$FFMPEG' -nostdin -v error -y $arguments") &&
        [ -s "$tmp/out.mkv" ] || note "ffmpeg $arguments" || return 1
    done < "$tmp/examples"
}
