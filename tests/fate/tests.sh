# The tests that run.sh runs: a function a test, which prints what is wrong and
# returns 1, or 0. list.txt says what each one proves.
# Part of libmagvit, LGPL-2.1-or-later, see LICENSE.

# ---------------------------------------------------------------- interpolation

test_interp_known() {
    for format in $formats; do
        src=$(source 40x24 2 5 "$format") # slow enough that every frame differs: between equal ones nothing is new
        md5 "$src" null > "$tmp/in" && md5 "$src" "magvit_interp=factor=4:$opts" > "$tmp/out" || return 1
        count "$format" 20 "$tmp/out" || return 1
        every 4 "$tmp/out" > "$tmp/known"
        same "$format" "$tmp/in" "$tmp/known" || return 1
        # and the others are new: neither of the frames around them
        head -n 16 "$tmp/out" | awk 'NR % 4 != 1' | sort -u > "$tmp/new"
        count "$format, synthesised" 12 "$tmp/new" || return 1
        [ -z "$(sort "$tmp/in" | comm -12 - "$tmp/new")" ] || note "$format: copies instead of new frames" || return 1
    done
}

test_interp_count() {
    n=1
    while [ $n -le 40 ]; do
        md5 "$(source 16x16 25 $n gray)" "magvit_interp=factor=3:$opts" > "$tmp/out" || return 1
        count "$n frames" $((3 * n)) "$tmp/out" || return 1
        # at 60 of 25: all k/60 before n/25
        md5 "$(source 16x16 25 $n gray)" "magvit_interp=60:$opts" > "$tmp/out" || return 1
        count "$n frames to 60" $(((12 * n + 4) / 5)) "$tmp/out" || return 1
        n=$((n + 1))
    done
    for factor in 1 2 5 7 15; do
        md5 "$(source 16x16 25 9 gray)" "magvit_interp=factor=$factor:$opts" > "$tmp/out" || return 1
        count "factor $factor" $((9 * factor)) "$tmp/out" || return 1
    done
}

test_interp_hold() {
    src=$(source 32x32 25 6 yuv420p)
    md5 "$src" null | tail -n 1 > "$tmp/last"
    md5 "$src" "magvit_interp=factor=5:$opts" > "$tmp/out" || return 1
    tail -n 5 "$tmp/out" | sort -u > "$tmp/held"
    same "held frames" "$tmp/last" "$tmp/held" || return 1
    stamps "$src" "magvit_interp=factor=5:$opts" | tail -n 5 | grep -c 'generated=0' > "$tmp/n"
    [ "$(cat "$tmp/n")" = 5 ] || note "held frames are marked as generated"
}

# what makes a frame for every gap, whatever is shown
every=scd=none:dup_threshold=0:$opts

test_interp_stamps() {
    {
        stamps "$(source 16x16 30000/1001 9 gray)" "magvit_interp=factor=2:$every" &&
        stamps "$(source 16x16 24 4 gray)" "magvit_interp=factor=15:$every" &&
        stamps "$(source 16x16 24 9 gray)" "magvit_interp=60:$every" &&
        stamps "$(source 16x16 24000/1001 9 gray)" "magvit_interp=source_fps*5/2:$every" &&
        stamps "$(source 16x16 25 5 gray)" "magvit_interp=$every" &&
        stamps "$(source 16x16 25 1 gray)" "magvit_interp=factor=3:$every"
    } | with_reference interp-stamps
}

test_interp_variable_rate() {
    # frames 0 1 2 5 9 10 14 of 25 a second, and a stream that starts late
    src="$(source 16x16 25 15 gray),select=lt(n\,3)+eq(n\,5)+eq(n\,9)+eq(n\,10)+eq(n\,14)"
    stamps "$src" "setpts=PTS+7,magvit_interp=factor=4:$every" > "$tmp/stamps" || return 1
    # how long the last frame is held depends on its duration, which FFmpeg 5.1 does not know
    head -n 26 "$tmp/stamps" | with_reference interp-variable-rate &&
    count "variable rate" 29 "$tmp/stamps"
}

test_interp_stamps_rise() {
    for rate in 25 24000/1001 60; do
        for fps in source_fps*2 source_fps*7 50 60 120000/1001; do
            stamps "$(source 16x16 $rate 8 gray)" "magvit_interp=fps=$fps:$opts" > "$tmp/s" || return 1
            awk -v what="$rate to $fps" '
                NR == 1 { next }
                { sub(/^pts:/, "", $1); if (NR > 2 && $1 + 0 <= last) bad = 1; last = $1 + 0; n++ }
                END { if (bad || n < 6) { print what ": " n " frames, stamps do not rise or frames are missing"; exit 1 } }
            ' "$tmp/s" || return 1
        done
    done
}

test_interp_seed() {
    src=$(source 32x32 10 4 yuv444p)
    md5 "$src" "magvit_interp=factor=4:seed=1:$opts" > "$tmp/a" &&
    md5 "$src" "magvit_interp=factor=4:seed=2:$opts" > "$tmp/b" || return 1
    differ "seeds 1 and 2" "$tmp/a" "$tmp/b" || return 1
    every 4 "$tmp/a" > "$tmp/c"; every 4 "$tmp/b" > "$tmp/d"
    same "known frames" "$tmp/c" "$tmp/d"
}

test_interp_shards() {
    # factor 5: three gaps a window, so frame 6 begins the third one
    md5 "$(source 32x32 10 13 gray)" "magvit_interp=factor=5:$opts" > "$tmp/whole" &&
    md5 "$(source 32x32 10 13 gray),trim=start_frame=6" "magvit_interp=factor=5:first_index=6:$opts" > "$tmp/tail" || return 1
    tail -n 35 "$tmp/whole" > "$tmp/expected"
    same "second part" "$tmp/expected" "$tmp/tail"
}

test_interp_fps() {
    while read -r fps expected; do
        got=$(timeout 60 "$FFPROBE" -v error -f lavfi -show_entries stream=r_frame_rate -of csv=p=0 \
            "$(source 16x16 24000/1001 3 gray),magvit_interp=fps=$fps:$opts")
        [ "$got" = "$expected" ] || note "fps=$fps: $got, expected $expected" || return 1
    done <<END
60 60/1
60000/1001 60000/1001
ntsc 30000/1001
pal 25/1
film 24/1
2*film 48/1
ntsc_film*2 48000/1001
source 24000/1001
source*3 72000/1001
source_fps*5/2 60000/1001
source_fps+1 25001/1001
max(source_fps\,50) 50/1
END
    src=$(source 16x16 24000/1001 3 gray)
    md5 "$src" "magvit_interp=$opts" > "$tmp/a" && md5 "$src" "magvit_interp=source_fps*2:$opts" > "$tmp/b" || return 1
    count "default" 6 "$tmp/a" && same "default" "$tmp/a" "$tmp/b"
}

# marks: pts and whether generated, of the frames after the geometry
marks() { stamps "$1" "$2" | awk 'NR > 1 { print $1, $2 }'; }

test_interp_scd() {
    for format in gray16le gbrpf32le yuv420p; do
        # another scene from frame 7 of 14 on, in the middle of a window
        clip="testsrc2=size=32x24:rate=5,trim=end_frame=14,lutyuv=y=negval:enable='gte(n\,7)',format=$format"
        marks "$clip" "magvit_interp=factor=4:scd=none:$opts" > "$tmp/none" &&
        marks "$clip" "magvit_interp=factor=4:$opts" > "$tmp/fdiff" || return 1
        count "$format scd=none" 56 "$tmp/none" || return 1
        # times and number are equal, the gap before the cut alone is held
        awk 'NR >= 26 && NR <= 28 { sub(/1$/, "0") } { print }' "$tmp/none" > "$tmp/expected"
        same "$format scd=fdiff" "$tmp/expected" "$tmp/fdiff" && differ "$format scd" "$tmp/none" "$tmp/fdiff" || return 1
    done
    md5 "$clip" "magvit_interp=factor=4:$opts" > "$tmp/a" && md5 "$clip" null | sed -n 7p > "$tmp/left" || return 1
    sed -n 26,28p "$tmp/a" | sort -u > "$tmp/held"
    same "held before the cut" "$tmp/left" "$tmp/held" || return 1
    # the second scene is what it is without the first one
    md5 "$clip,trim=start_frame=7" "magvit_interp=factor=4:first_index=7:$opts" > "$tmp/alone" || return 1
    tail -n 28 "$tmp/a" > "$tmp/second"
    same "second scene" "$tmp/alone" "$tmp/second" || return 1
    # what was found before counts
    md5 "$clip" "magvit_interp=factor=4:scd=none:$opts" > "$tmp/b" &&
    md5 "$clip" "scdet=threshold=10,magvit_interp=factor=4:$opts" > "$tmp/c" &&
    md5 "$clip" "scdet,metadata=delete:key=lavfi.scd.time,magvit_interp=factor=4:$opts" > "$tmp/d" &&
    md5 "$clip" "select=gte(scene\,0),magvit_interp=factor=4:$opts" > "$tmp/e" &&
    md5 "$clip" "scdet=threshold=10,magvit_interp=factor=4:scd=none:$opts" > "$tmp/f" &&
    md5 "$clip" "magvit_interp=factor=4:scd_threshold=100:$opts" > "$tmp/g" || return 1
    same "scdet" "$tmp/a" "$tmp/c" && same "scdet finds nothing" "$tmp/b" "$tmp/d" && same "select" "$tmp/a" "$tmp/e" &&
    same "scd=none beats scdet" "$tmp/b" "$tmp/f" && same "scd_threshold=100" "$tmp/b" "$tmp/g" && differ "cut" "$tmp/a" "$tmp/b"
}

test_interp_dup() {
    # every frame twice
    clip="$(source 32x24 2 6 yuv420p),fps=4"
    marks "$clip" "magvit_interp=factor=3:$opts" > "$tmp/marks" || return 1
    awk '{ print (int((NR - 1) / 3) % 2 && NR % 3 != 1 && NR < 34 ? 1 : 0) }' "$tmp/marks" > "$tmp/expected"
    sed 's/.*generated=//' "$tmp/marks" > "$tmp/got"
    count "twice" 36 "$tmp/marks" && same "frames made" "$tmp/expected" "$tmp/got" || return 1
    marks "$clip" "magvit_interp=factor=3:dup_threshold=0:$opts" > "$tmp/marks" || return 1
    [ "$(grep -c generated=1 "$tmp/marks")" = 22 ] || note "dup_threshold=0 makes $(grep -c generated=1 "$tmp/marks") frames" || return 1
    # a still picture needs no model
    ff -v verbose -f lavfi -i "color=red:size=64x64:rate=10,trim=end_frame=40" -vf "magvit_interp=factor=4:$opts" -f null - 2> "$tmp/err" || return 1
    [ "$(grep -c 'window [0-9]*:' "$tmp/err")" = 0 ] || note "a still picture: $(grep -c 'window [0-9]*:' "$tmp/err") windows"
}

test_repair() {
    clip=$(source 32x24 3 24 yuv420p)
    flag="metadata=add:key=lavfi.magvit.repair:value=1:enable='eq(n\,5)+between(n\,14\,16)'" # the second lies across two windows
    md5 "$clip" null > "$tmp/in" && md5 "$clip" "$flag,magvit_interp=mode=repair:$opts" > "$tmp/flagged" || return 1
    count "flagged" 24 "$tmp/flagged" || return 1
    paste "$tmp/in" "$tmp/flagged" | awk '$1 != $2 { print NR - 1 }' | paste -s -d' ' > "$tmp/changed"
    [ "$(cat "$tmp/changed")" = "5 14 15 16" ] || note "changed: $(cat "$tmp/changed")" || return 1
    # missing and frozen frames are made as those that are marked
    drop="select=not(eq(n\,5)+between(n\,14\,16))"
    md5 "$clip,$drop" "magvit_interp=mode=repair:$opts" > "$tmp/missing" &&
    md5 "$clip,$drop,fps=3" "magvit_interp=mode=repair:$opts" > "$tmp/frozen" || return 1
    same "missing" "$tmp/flagged" "$tmp/missing" && same "frozen" "$tmp/flagged" "$tmp/frozen" || return 1
    marks "$clip,$drop" "magvit_interp=mode=repair:$opts" > "$tmp/marks" || return 1
    awk '{ i = NR - 1; print "pts:" i, "generated=" (i == 5 || (i >= 14 && i <= 16) ? 1 : 0) }' "$tmp/marks" > "$tmp/expected"
    same "times" "$tmp/expected" "$tmp/marks" || return 1
    md5 "$clip,$drop,fps=3" "magvit_interp=mode=repair:dup_threshold=0:$opts" > "$tmp/a" && md5 "$clip,$drop,fps=3" null > "$tmp/b" || return 1
    same "dup_threshold=0" "$tmp/a" "$tmp/b" || return 1
    # a repaired frame is not repaired again
    md5 "$clip,$flag" "magvit_interp=mode=repair:$opts,magvit_interp=mode=repair:seed=5:$opts" > "$tmp/twice" || return 1
    same "repaired twice" "$tmp/flagged" "$tmp/twice"
}

test_repair_long() {
    # 15 frames are too many: held if they are there, a gap if not, with one warning
    clip=$(source 32x24 3 30 yuv420p)
    md5 "$clip,select=not(between(n\,5\,19)),fps=3" null > "$tmp/in" || return 1
    for filter in "select=not(between(n\,5\,19)),fps=3" "metadata=add:key=lavfi.magvit.repair:value=1:enable='between(n\,5\,19)'"; do
        md5 "$clip,$filter" "magvit_interp=mode=repair:$opts" > "$tmp/out" &&
        ff -v warning -f lavfi -i "$clip,$filter" -vf "magvit_interp=mode=repair:$opts" -f null - 2> "$tmp/err" || return 1
        same "held" "$tmp/in" "$tmp/out" || return 1
        [ "$(grep -c 'magvit_interp.*more than 14' "$tmp/err")" = 1 ] || note "expected one warning: $(cat "$tmp/err")" || return 1
    done
    ff -v warning -f lavfi -i "$clip,select=not(between(n\,5\,19))" -vf "magvit_interp=mode=repair:$opts" -fps_mode passthrough -f framemd5 "$tmp/md5" 2> "$tmp/err" || return 1
    [ "$(grep -vc '^#' "$tmp/md5")" = 15 ] || note "a long gap: $(grep -vc '^#' "$tmp/md5") frames" || return 1
    [ "$(grep -c 'magvit_interp.*15 frames are missing' "$tmp/err")" = 1 ] || note "expected one warning: $(cat "$tmp/err")" || return 1
    # nothing good before or after
    for frames in 'lt(n\,3)' 'gt(n\,26)' '1'; do
        md5 "$clip,metadata=add:key=lavfi.magvit.repair:value=1:enable='$frames'" "magvit_interp=mode=repair:$opts" > "$tmp/out" || return 1
        count "$frames" 30 "$tmp/out" || return 1
    done
}

# ---------------------------------------------------------------- inpainting

# around: four crops around the hole at 8,8 16x12 of 40x32, and the hole itself
around="split=5[a][b][c][d][e];[a]crop=40:8:0:0:exact=1[t];[b]crop=40:12:0:20:exact=1[u];"
around="$around[c]crop=8:12:0:8:exact=1[l];[d]crop=16:12:24:8:exact=1[r];[e]crop=16:12:8:8:exact=1[h]"

# hole SOURCE FILTER: writes $tmp/around and $tmp/hole
hole() {
    ff -f lavfi -i "$1" -filter_complex "[0:v]$2,$around" -map '[t]' -map '[u]' -map '[l]' -map '[r]' -map '[h]' \
        -fps_mode passthrough -f framemd5 "$tmp/all" || return 1
    grep '^[0-3],' "$tmp/all" | sort > "$tmp/around"
    sed -n 's/^4,.*, *//p' "$tmp/all" > "$tmp/hole"
}

test_inpaint_known() {
    for format in $formats; do
        src=$(source 40x32 10 5 "$format")
        hole "$src" null || return 1
        mv "$tmp/around" "$tmp/around0"; mv "$tmp/hole" "$tmp/hole0"
        hole "$src" "magvit_inpaint=x=8:y=8:w=16:h=12:$opts" || return 1
        same "$format outside the hole" "$tmp/around0" "$tmp/around" || return 1
        count "$format" 5 "$tmp/hole" || return 1
        [ -z "$(sort "$tmp/hole" > "$tmp/x"; sort "$tmp/hole0" | comm -12 - "$tmp/x")" ] ||
            note "$format: the hole is not refilled" || return 1
    done
}

test_inpaint_count() {
    for n in 1 2 3 5 12 15 16 17 20; do
        md5 "$(source 24x24 25 $n gray)" "magvit_inpaint=x=4:y=4:w=8:h=8:$opts" > "$tmp/out" || return 1
        count "$n frames" $n "$tmp/out" || return 1
    done
}

test_inpaint_stamps() {
    {
        stamps "$(source 24x24 30000/1001 20 gray)" "magvit_inpaint=x=4:y=4:w=8:h=8:$opts" &&
        stamps "$(source 24x24 25 12 gray),select=not(eq(mod(n\,3)\,1))" "setpts=PTS+3,magvit_inpaint=x=4:y=4:w=8:h=8:$opts"
    } | with_reference inpaint-stamps
}

test_inpaint_moving() {
    src=$(source 40x32 10 6 yuv420p)
    md5 "$src" "magvit_inpaint=x=8:y=8:w=16:h=12:$opts" > "$tmp/rect" &&
    md5 "$src" "magvit_inpaint=x=8+0*n:y=8:w=iw*0.4:h=12:$opts" > "$tmp/mask" || return 1
    same "rectangle and mask" "$tmp/rect" "$tmp/mask" || return 1
    md5 "$src" null > "$tmp/in"
    md5 "$src" "magvit_inpaint=x=iw+n:y=8:w=16:h=12:$opts" > "$tmp/outside" || return 1
    same "rectangle outside" "$tmp/in" "$tmp/outside" || return 1
    # leaves to the right after frame 2: the frames after it are untouched
    md5 "$src" "magvit_inpaint=x=if(lt(n\,3)\,8\,100):y=8:w=16:h=12:$opts" > "$tmp/leaves" || return 1
    tail -n 3 "$tmp/in" > "$tmp/a"; tail -n 3 "$tmp/leaves" > "$tmp/b"
    same "frames after it has left" "$tmp/a" "$tmp/b" || return 1
    head -n 3 "$tmp/in" > "$tmp/a"; head -n 3 "$tmp/leaves" > "$tmp/b"
    [ "$(paste "$tmp/a" "$tmp/b" | awk '$1 == $2' | wc -l)" = 0 ] || note "a hole is not refilled"
}

test_inpaint_clip() {
    # a rectangle over the corner equals its part inside
    src=$(source 40x32 10 3 yuv420p)
    md5 "$src" "magvit_inpaint=x=-8:y=-4:w=16:h=12:$opts" > "$tmp/a" &&
    md5 "$src" "magvit_inpaint=x=0:y=0:w=8:h=8:$opts" > "$tmp/b" || return 1
    same "clipped rectangle" "$tmp/a" "$tmp/b"
}

# ---------------------------------------------------------------- outpainting

test_outpaint_known() {
    for format in $formats; do
        src=$(source 24x20 10 5 "$format")
        md5 "$src" null > "$tmp/in" || return 1
        md5 "$src" "magvit_outpaint=w=40:h=32:x=8:y=8:$opts,crop=24:20:8:8:exact=1" > "$tmp/out" || return 1
        same "$format" "$tmp/in" "$tmp/out" || return 1
    done
}

test_outpaint_geometry() {
    src=$(source 24x20 10 2 yuv420p)
    for geometry in w=iw*2:h=ih:x=iw/2:y=0 w=40:h=32:x=-1:y=-1 w=ih*2:h=0:x=\(ow-iw\)/2 \
        w=41:h=33:x=5:y=3 width=oh*16/9:height=32:x=ow-iw:y=oh-ih w=30:h=30:x=100:y=100; do
        # the pad filter places the input: what is known must lie where pad puts it
        for filter in "pad=$geometry" "magvit_outpaint=$geometry:$opts"; do
            timeout 60 "$FFPROBE" -v error -f lavfi -show_entries stream=width,height -of csv=p=0 "$src,$filter"
        done | sort -u > "$tmp/size"
        [ "$(lines "$tmp/size")" = 1 ] || note "$geometry: $(paste -s "$tmp/size")" || return 1
        # compare under a mask: white where pad puts the input
        ff -f lavfi -i "$src" -filter_complex "[0]split=3[a][b][c];
            [a]lutyuv=y=255,pad=$geometry:color=black,extractplanes=y,lut=c0=if(gt(val\,200)\,255\,0),split[m][n];
            [b]pad=$geometry,extractplanes=y[p];[c]magvit_outpaint=$geometry:$opts,extractplanes=y[o];
            [p][m]blend=all_mode=and[A];[o][n]blend=all_mode=and[B]" \
            -map '[A]' -map '[B]' -fps_mode passthrough -f framemd5 "$tmp/both" || return 1
        sed -n 's/^0,.*, *//p' "$tmp/both" > "$tmp/a"; sed -n 's/^1,.*, *//p' "$tmp/both" > "$tmp/b"
        same "$geometry" "$tmp/a" "$tmp/b" || return 1
    done
}

test_outpaint_sides() {
    # the same canvas in other words
    src="$(source 32x24 10 2 yuv420p)"
    md5 "$src" "magvit_outpaint=w=iw+24:h=ih+12:x=16:y=4:$opts" > "$tmp/pad" &&
    md5 "$src" "magvit_outpaint=left=iw/2:right=8:top=4:bottom=ih/3:$opts" > "$tmp/sides" || return 1
    same "sides" "$tmp/pad" "$tmp/sides" || return 1
    # 4:3 to 16:9, an upright picture to a flat one, and square pixels or not, have the size that pad gives
    for filter in "setsar=1,FILTER=aspect=16/9:x=-1" "crop=18:24,setsar=1,FILTER=aspect=16/9:x=(ow-iw)/2" \
        "setsar=4/3,FILTER=aspect=1:y=-1" "setsar=1,FILTER=w=40:aspect=2:x=-1:y=-1"; do
        for which in pad magvit_outpaint; do
            timeout 60 "$FFPROBE" -v error -f lavfi -show_entries stream=width,height -of csv=p=0 \
                "$src,$(echo "$filter" | sed "s/FILTER/$which/")$(test $which = pad || echo ":$opts")"
        done > "$tmp/sizes"
        [ "$(lines "$tmp/sizes")" = 2 ] && [ "$(sort -u "$tmp/sizes" | wc -l)" = 1 ] ||
            note "$filter: $(paste -s "$tmp/sizes")" || return 1
    done
}

test_outpaint_panorama() {
    # a strip becomes six times as wide, by steps; what is known stays, and every pixel is made
    src="$(source 64x128 10 2 yuv420p)"
    filter="magvit_outpaint=w=384:h=128:x=160:scale=tile:$opts"
    md5 "$src" null > "$tmp/in" && md5 "$src" "$filter" > "$tmp/a" && md5 "$src" "$filter" > "$tmp/b" || return 1
    count panorama 2 "$tmp/a" && same "panorama, again" "$tmp/a" "$tmp/b" || return 1
    md5 "$src" "$filter,crop=64:128:160:0:exact=1" > "$tmp/known" || return 1
    same "what is known" "$tmp/in" "$tmp/known" || return 1
    for x in 0 320; do
        ff -f lavfi -i "$src" -vf "$filter,crop=64:128:$x:0,format=gray" -frames:v 1 -f rawvideo "$tmp/raw" || return 1
        [ "$(values "$tmp/raw")" -ge 8 ] || note "at $x: $(values "$tmp/raw") different values" || return 1
    done
}

test_outpaint_moving() {
    for format in yuv420p gbrp gray16le; do
        src="$(source 16x24 10 20 $format)"
        md5 "$src" null > "$tmp/in" || return 1
        # to the right, clipped at the edge of the canvas; odd places go down to the grid of the chroma samples
        md5 "$src" "magvit_outpaint=w=32:h=30:x=n:y=t*2:eval=frame:$opts,crop=16:24:'min(n,16)':'floor(n/5)':exact=1" > "$tmp/odd" || return 1
        grid=$(case $format in yuv420p) echo 2 ;; *) echo 1 ;; esac)
        md5 "$src" "magvit_outpaint=w=32:h=30:x=n:y=t*2:eval=frame:$opts,crop=16:24:'floor(min(n,16)/$grid)*$grid':'floor(floor(n/5)/$grid)*$grid':exact=1" > "$tmp/known" || return 1
        same "$format" "$tmp/in" "$tmp/known" || return 1
    done
    # a place that stays is that of eval=init, of all but what is seen of the border
    marks "$src" "magvit_outpaint=w=32:h=30:x=4:eval=frame:$opts" > "$tmp/marks" || return 1
    [ "$(grep -c generated=1 "$tmp/marks")" = 20 ] || note "$(grep -c generated=1 "$tmp/marks") frames are made" || return 1
    refuses "x: if(eq(n,3),0/0,0) is not valid" -f lavfi -i "$src" -vf "magvit_outpaint=w=32:h=30:x='if(eq(n,3),0/0,0)':eval=frame:$opts"
}

test_outpaint_stamps() {
    stamps "$(source 24x24 30000/1001 20 gray)" "setpts=PTS+3,magvit_outpaint=w=32:h=24:x=4:y=0:$opts" | with_reference outpaint-stamps
}

# ---------------------------------------------------------------- prediction

test_predict_known() {
    for format in $formats; do
        src=$(source 40x32 10 5 "$format")
        md5 "$src" null > "$tmp/in" &&
        md5 "$src" "magvit_predict=frames=20:$opts" > "$tmp/out" || return 1
        count "$format" 25 "$tmp/out" || return 1
        head -n 5 "$tmp/out" > "$tmp/known"
        same "$format before the end" "$tmp/in" "$tmp/known" || return 1
        [ "$(tail -n 21 "$tmp/out" | sort -u | wc -l)" -gt 10 ] || note "$format: the last frame is held" || return 1
    done
}

test_predict_count() {
    for n in 1 2 15 16 17 40; do
        for case in frames=1,1 frames=33,33 d=0.5:cond_frames=5,13 cond_frames=4,12 cond_frames=15:duration=1,25; do
            md5 "$(source 24x24 25 $n gray)" "magvit_predict=${case%,*}:$opts" > "$tmp/out" || return 1
            count "$n frames, ${case%,*}" $((n + ${case#*,})) "$tmp/out" || return 1
        done
    done
}

test_predict_stamps() {
    {
        stamps "$(source 24x24 30000/1001 4 gray)" "settb=1/1000,magvit_predict=frames=20:$opts" &&
        stamps "$(source 24x24 25 1 gray)" "magvit_predict=cond_frames=4:frames=17:$opts" &&
        stamps "$(source 24x24 25 12 gray),select=not(eq(mod(n\,3)\,1))" "magvit_predict=frames=3:$opts"
    } | with_reference predict-stamps
}

test_predict_class() {
    src=$(source 32x32 10 2 yuv420p)
    for class in ball 0 cone; do
        md5 "$src" "magvit_predict=class=$class:seed=1:$opts" > "$tmp/$class" || return 1
    done
    md5 "$src" "magvit_predict=seed=1:$opts" > "$tmp/none" || return 1
    same "name and number" "$tmp/ball" "$tmp/0" && differ "two classes" "$tmp/ball" "$tmp/cone" &&
        differ "a class and none" "$tmp/ball" "$tmp/none"
}

# ---------------------------------------------------------------- generation

test_src_count() {
    for case in d=0.5:r=10,5 duration=0,0 duration=0.1:rate=30000/1001,3 d=1.5,38; do
        md5 "magvit_src=${case%,*}:$opts" null > "$tmp/out" || return 1
        count "${case%,*}" "${case#*,}" "$tmp/out" || return 1
    done
    md5 "magvit_src=$opts" null -frames:v 40 > "$tmp/out" || return 1
    count "without end" 40 "$tmp/out" || return 1
    [ "$(sort -u "$tmp/out" | wc -l)" = 40 ] || note "frames are the same"
}

test_src_stamps() {
    {
        stamps "magvit_src=rate=30000/1001:size=40x24:duration=0.6:cond_frames=4:seed=5:$opts" null &&
        stamps "magvit_src=d=0.1:$opts" null
    } | with_reference src-stamps
}

test_src_size() {
    # one window at any size: larger pictures are that of the window, enlarged
    for size in 1x1 17x13 64x64 100x20 32x300; do
        got=$(timeout 60 "$FFPROBE" -v error -f lavfi -show_entries stream=width,height,sample_aspect_ratio,pix_fmt -of csv=p=0 "magvit_src=s=$size:$opts")
        [ "$got" = "$(echo $size | tr x ,),1:1,gbrp" ] || note "$size: $got" || return 1
        ff -f lavfi -i "magvit_src=s=$size:d=0.08:$opts" -f rawvideo "$tmp/raw" || return 1
        [ "$(wc -c < "$tmp/raw")" = $((6 * ${size%x*} * ${size#*x})) ] || note "$size: $(wc -c < "$tmp/raw") bytes" || return 1
    done
    ff -f lavfi -i "magvit_src=d=0.04:s=64x64:$opts" -f lavfi -i "magvit_src=d=0.04:$opts" \
        -lavfi "[0]scale=32:32:flags=area[a];[a][1]psnr=stats_file=-" -f null - > "$tmp/psnr" || return 1
    sed 's/.*psnr_avg:\([0-9]*\).*/\1/' "$tmp/psnr" | grep -qE '^([3-9][0-9]|inf)$' || note "64x64 and 32x32: $(cat "$tmp/psnr")" || return 1
    for format in gbrp10le gbrp16le gbrpf32le yuv420p10le rgb24; do
        ff -f lavfi -i "magvit_src=d=0.08:$opts" -vf format=$format -f rawvideo "$tmp/raw" || return 1
        [ "$(values "$tmp/raw")" -ge 8 ] || note "$format: $(values "$tmp/raw") different values" || return 1
    done
}

test_src_class() {
    for options in class=ball class=0 class=cone seed=1 seed=0; do
        md5 "magvit_src=$options:d=0.2:$opts" null > "$tmp/$options" || return 1
    done
    same "name and number" "$tmp/class=ball" "$tmp/class=0" && differ "two classes" "$tmp/class=ball" "$tmp/class=cone" &&
        differ "two seeds" "$tmp/seed=0" "$tmp/seed=1"
}

# ---------------------------------------------------------------- odd input

test_sizes() {
    for size in 1x1 1x9 9x1 2x2 17x13 33x31 70x50; do
        w=${size%x*} h=${size#*x}
        for format in yuv420p gbrp; do
            src=$(source 96x96 10 3 "$format"),crop=$w:$h:30:30:exact=1
            md5 "$src" null > "$tmp/in"
            md5 "$src" "magvit_interp=factor=2:$opts" > "$tmp/out" || return 1
            every 2 "$tmp/out" > "$tmp/known"
            same "interp $size $format" "$tmp/in" "$tmp/known" || return 1
            count "interp $size $format" 6 "$tmp/out" || return 1
            # all but one column or row, whichever there is; of one pixel all, in the frames that are not given
            case $size in 1x1) hole="w=1:h=1:enable=gt(n\,0)" ;; 1x*) hole="w=1:h=ih-1" ;; *) hole="w=iw-1:h=ih" ;; esac
            md5 "$src" "magvit_inpaint=x=0:y=0:$hole:$opts" > "$tmp/out" || return 1
            count "inpaint $size $format" 3 "$tmp/out" || return 1
            md5 "$src" "magvit_outpaint=w=iw+8:h=ih+6:x=4:y=2:$opts,crop=$w:$h:4:2:exact=1" > "$tmp/out" || return 1
            same "outpaint $size $format" "$tmp/in" "$tmp/out" || return 1
            md5 "$src" "magvit_predict=frames=2:$opts" > "$tmp/out" || return 1
            head -n 3 "$tmp/out" > "$tmp/known"
            same "predict $size $format" "$tmp/in" "$tmp/known" && count "predict $size $format" 5 "$tmp/out" || return 1
        done
    done
}

test_empty() {
    for filter in magvit_interp=factor=2 magvit_inpaint=x=0:y=0:w=8:h=8 magvit_outpaint=w=32:h=32; do
        md5 "$(source 16x16 10 5 yuv420p),select=0" "$filter:$opts" > "$tmp/out" 2> "$tmp/err" || note "$filter: $(cat "$tmp/err")" || return 1
        count "$filter" 0 "$tmp/out" || return 1
    done
    # nothing to continue: said once
    ff -v warning -f lavfi -i "$(source 16x16 10 5 yuv420p),select=0" -vf "magvit_predict=frames=5:$opts" -f framemd5 "$tmp/out" 2> "$tmp/err" || return 1
    [ "$(grep -c '^0,' "$tmp/out")" = 0 ] || note "frames were made of nothing" || return 1
    [ "$(grep -c 'magvit_predict.*nothing to continue' "$tmp/err")" = 1 ] || note "expected one warning: $(cat "$tmp/err")"
}

test_reconfigure() {
    ff -f lavfi -i "$(source 32x32 2 7 yuvj420p)" -c:v mjpeg "$tmp/a.mkv" &&
    ff -f lavfi -i "$(source 48x24 2 7 yuvj420p)" -c:v mjpeg "$tmp/b.mkv" || return 1
    printf 'file a.mkv\nfile b.mkv\n' > "$tmp/list"
    # size changes in mid-stream: ffmpeg sets up the graph again and drops what was in it, frames 5 and 6; that of 9.0 also
    # what waits before it, as it takes every frame that it can get before it asks for one: how many those are is chance
    ff -f concat -i "$tmp/list" -vf scale=32:32 -fps_mode passthrough -f framemd5 "$tmp/in.md5" &&
    ff -f concat -i "$tmp/list" -vf "scale=32:32,magvit_interp=factor=3:$opts" -fps_mode passthrough -f framemd5 "$tmp/out.md5" || return 1
    for i in in out; do sed -n 's/^0,.*, *//p' "$tmp/$i.md5" > "$tmp/$i"; done
    every 3 "$tmp/out" > "$tmp/known"
    left=5
    if [ "$("$FFMPEG" -version | sed -n 's/^libavfilter *\([0-9]*\)\..*/\1/p')" -ge 12 ]; then
        left=$(($(lines "$tmp/known") - 7))
        [ "$left" -ge 1 ] && [ "$left" -le 5 ] || note "new graph: $left frames before it" || return 1
    fi
    sed "$((left + 1)),7d" "$tmp/in" > "$tmp/expected"
    count "new graph" $((3 * left + 21)) "$tmp/out" && same "known frames" "$tmp/expected" "$tmp/known" || return 1
    # one graph: scale takes any size, and nothing is lost
    ff -reinit_filter 0 -f concat -i "$tmp/list" -vf "scale=32:32:eval=frame,magvit_interp=factor=3:$opts" -fps_mode passthrough -f framemd5 "$tmp/out.md5" || return 1
    sed -n 's/^0,.*, *//p' "$tmp/out.md5" > "$tmp/out"; every 3 "$tmp/out" > "$tmp/known"
    count "one graph" 42 "$tmp/out" && same "known frames of one graph" "$tmp/in" "$tmp/known" || return 1
    refuses "48x24.*must not change" -reinit_filter 0 -f concat -i "$tmp/list" -vf "magvit_interp=factor=3:$opts"
}

test_no_stamps() {
    # raw H.264-like input without stamps counts frames; late and negative stamps stay
    ff -f lavfi -i "$(source 16x16 25 6 yuv420p)" -c:v mpeg4 -f rawvideo "$tmp/a.m4v" &&
    ff -fflags +igndts -r 25 -f m4v -i "$tmp/a.m4v" -vf "magvit_interp=factor=3:$opts" -fps_mode passthrough -f framemd5 "$tmp/out.md5" || return 1
    [ "$(grep -vc '^#' "$tmp/out.md5")" = 18 ] || note "$(grep -vc '^#' "$tmp/out.md5") frames, expected 18" || return 1
    for shift in -7 90000; do
        marks "$(source 16x16 25 6 yuv420p)" "setpts=PTS+$shift,magvit_interp=factor=3:$opts" | sed 's/ .*//' > "$tmp/got" || return 1
        i=0; while [ $i -lt 18 ]; do echo "pts:$((3 * shift + i))"; i=$((i + 1)); done > "$tmp/expected"
        same "shift $shift" "$tmp/expected" "$tmp/got" || return 1
    done
    # a jump of a day between frames 3 and 4
    marks "$(source 16x16 25 6 yuv420p)" "setpts=PTS+gte(N\,3)*2160000,magvit_interp=factor=2:$opts" | sed -n '6,7s/ .*//p' | paste -s -d' ' > "$tmp/got"
    [ "$(cat "$tmp/got")" = "pts:2160005 pts:4320006" ] || note "jump: $(cat "$tmp/got")"
}

test_interlaced() {
    ff -v warning -f lavfi -i "$(source 32x32 25 6 yuv420p)" -vf "setfield=tff,magvit_interp=factor=2:$opts" -f null - 2> "$tmp/err" || return 1
    [ "$(grep -c 'magvit_interp.*nterlaced' "$tmp/err")" = 1 ] || note "expected one warning: $(cat "$tmp/err")"
}

# shown FILTER: what showinfo says of each frame, without samples and stamps
shown() {
    ff -v info -f lavfi -i "$(source 32x32 25 4 yuv422p10le)" -vf "setsar=4/3,setfield=tff,$props,$1,showinfo" -f null - 2>&1 |
        grep -o 'sar:[0-9/]*\|i:[TBP]\|iskey:[01]\|fmt:[a-z0-9]*\|color_[a-z]*:[a-z0-9]*' > "$tmp/fields"
    grep -v iskey "$tmp/fields" | sort -u
}

test_properties() {
    # colour, aspect and field order leave as they came, a synthesised frame is no key frame
    props=setparams=range=pc:colorspace=bt709:color_primaries=bt470bg:color_trc=smpte2084
    shown null > "$tmp/null"
    grep -q smpte2084 "$tmp/null" || note "the source has no properties: $(cat "$tmp/null")" || return 1
    for filter in magvit_inpaint=x=0:y=0:w=8:h=8 magvit_outpaint=w=48:h=40 magvit_predict=frames=3 magvit_interp=factor=3; do
        shown "$filter:$opts" > "$tmp/out"
        same "$filter" "$tmp/null" "$tmp/out" || return 1
    done
    [ "$(grep iskey "$tmp/fields" | paste -s -d' ')" = "$(for i in 1 2 3 4; do printf 'iskey:1 iskey:0 iskey:0 '; done | sed 's/ $//')" ] ||
        note "key frames: $(grep iskey "$tmp/fields" | paste -s -d' ')"
}

# ---------------------------------------------------------------- errors

test_commands() {
    src="$(source 32x32 2 40 yuv420p)"
    md5 "$src" "magvit_interp=factor=5:$every" > "$tmp/a" || return 1
    for command in "seed 7" "steps 3" "temperature 0"; do
        option=$(echo "$command" | tr ' ' =)
        md5 "$src" "magvit_interp=factor=5:$option:$every" > "$tmp/b" &&
        md5 "$src" "sendcmd=c='9.9 magvit_interp $command',magvit_interp=factor=5:$every" > "$tmp/c" || return 1
        # as a before, as b after, and nothing else; frames that are known are equal in all three
        paste "$tmp/a" "$tmp/b" "$tmp/c" | awk '
            $1 == $2 { if ($3 != $1) bad = 1; next }
            $3 == $1 { if (after) bad = 1; before = 1; next }
            $3 == $2 { after = 1; next }
            { bad = 1 }
            END { exit bad || !before || !after }' || note "$command: the change is not clean" || return 1
    done
    ff -f lavfi -i "$src" -vf "sendcmd=c='9.9 magvit_interp seed 7',magvit_interp=factor=5:$every,metadata=print:file=-" -f null - |
        sed -n 's/.*magvit.seed=//p' | uniq > "$tmp/seeds"
    [ "$(paste -s -d' ' "$tmp/seeds")" = "0 7" ] || note "seeds: $(paste -s -d' ' "$tmp/seeds")" || return 1
    for filter in "magvit_inpaint=x=4:y=4:w=8:h=8" "magvit_outpaint=w=40" "magvit_predict"; do
        ff -v verbose -f lavfi -i "$src" -vf "sendcmd=c='1 ${filter%%=*} seed 7;1 ${filter%%=*} steps 2',$filter$(test "$filter" = magvit_predict && echo =frames=3):$opts" -f null - 2> "$tmp/err" || return 1
        [ "$(grep -a -c 'reply for command.*ret:Success' "$tmp/err")" = 2 ] || note "$filter: $(grep -a reply "$tmp/err")" || return 1
    done
    # a value that is out of range changes nothing, and does not end the run
    md5 "$src" "sendcmd=c='1 magvit_interp steps 300',magvit_interp=factor=5:$every" > "$tmp/c" 2> "$tmp/err" || return 1
    same "steps 300" "$tmp/a" "$tmp/c"
}

# ---------------------------------------------------------------- flow

test_two_instances() {
    src=$(source 32x32 10 6 yuv420p)
    ff -f lavfi -i "$src" -filter_complex "[0]split[a][b];[a]magvit_interp=factor=2:$opts[x];[b]magvit_outpaint=w=40:h=40:x=4:y=4:$opts[y]" \
        -map '[x]' -map '[y]' -fps_mode passthrough -f framemd5 "$tmp/both" || return 1
    sed -n 's/^0,.*, *//p' "$tmp/both" > "$tmp/x"; sed -n 's/^1,.*, *//p' "$tmp/both" > "$tmp/y"
    md5 "$src" "magvit_interp=factor=2:$opts" > "$tmp/a" &&
    md5 "$src" "magvit_outpaint=w=40:h=40:x=4:y=4:$opts" > "$tmp/b" || return 1
    same "interp beside outpaint" "$tmp/a" "$tmp/x" && same "outpaint beside interp" "$tmp/b" "$tmp/y"
}

test_chain() {
    md5 "$(source 32x32 10 6 yuv420p)" "magvit_inpaint=x=8:y=8:w=8:h=8:$opts,magvit_interp=factor=3:$opts,magvit_outpaint=w=40:h=32:x=4:y=0:$opts" \
        > "$tmp/out" || return 1
    count chain 18 "$tmp/out"
}

test_early_stop() {
    src=testsrc2=size=32x32:rate=10 # never ends
    md5 "$src" "magvit_interp=factor=4:$opts" -frames:v 7 > "$tmp/a" || return 1
    count "-frames:v 7" 7 "$tmp/a" || return 1
    md5 "$src" "magvit_interp=factor=4:$opts" -t 0.5 > "$tmp/b" || return 1
    count "-t 0.5" 20 "$tmp/b" || return 1
    md5 "$src" "magvit_inpaint=x=8:y=8:w=8:h=8:$opts,trim=end_frame=3" > "$tmp/c" || return 1
    count "trim" 3 "$tmp/c" || return 1
    # what is to be continued passes at once
    md5 "$src" "magvit_predict=$opts" -frames:v 3 > "$tmp/d" && md5 "$src" null -frames:v 3 > "$tmp/in" || return 1
    same "-frames:v before the end" "$tmp/in" "$tmp/d"
}

test_deterministic() {
    src=$(source 48x40 10 8 yuv420p)
    for filter in magvit_interp=factor=5 magvit_inpaint=x=8:y=8:w=16:h=16 magvit_outpaint=w=64:h=48:x=8:y=4 magvit_predict=frames=20; do
        md5 "$src" "$filter:$opts" > "$tmp/a" && md5 "$src" "$filter:$opts" > "$tmp/b" &&
        md5 "$src" "$filter:$opts" -filter_threads 1 > "$tmp/c" &&
        md5 "$src" "$filter:$opts" -filter_threads 2 > "$tmp/d" || return 1
        same "$filter, again" "$tmp/a" "$tmp/b" && same "$filter, 1 thread" "$tmp/a" "$tmp/c" &&
        same "$filter, 2 threads" "$tmp/a" "$tmp/d" || return 1
    done
}

test_values() {
    # floats are finite, and what is made is a picture, not one colour
    ff -f lavfi -i "$(source 32x32 10 4 gbrpf32le)" -vf "magvit_interp=factor=3:$opts" -fps_mode passthrough -f rawvideo "$tmp/raw" || return 1
    [ "$(wc -c < "$tmp/raw")" = $((12 * 3 * 4 * 32 * 32)) ] || note "size $(wc -c < "$tmp/raw")" || return 1
    [ "$(od -An -v -tf4 "$tmp/raw" | grep -ci nan)" = 0 ] && [ "$(od -An -v -tf4 "$tmp/raw" | grep -ci inf)" = 0 ] ||
        note "not a number" || return 1
    for filter in "magvit_interp=factor=2:$opts,select=eq(n\,1)" "magvit_inpaint=x=4:y=4:w=24:h=24:$opts,crop=24:24:4:4" \
        "magvit_outpaint=w=64:h=32:x=0:y=0:$opts,crop=32:32:32:0" "magvit_predict=frames=1:$opts,trim=start_frame=2"; do
        ff -f lavfi -i "$(source 32x32 10 2 gray)" -vf "$filter" -fps_mode passthrough -frames:v 1 -f rawvideo "$tmp/raw" || return 1
        [ "$(values "$tmp/raw")" -ge 8 ] || note "$filter: $(values "$tmp/raw") different values" || return 1
    done
}

test_info_line() {
    ff -v info -f lavfi -i "$(source 16x16 10 2 gray)" -vf "magvit_interp=seed=77:$opts" -f null - 2> "$tmp/err" || return 1
    grep 'magvit_interp.*@.*model' "$tmp/err" > "$tmp/line"
    count "information" 1 "$tmp/line" || return 1
    grep -q "sha256 $(sha256sum $tiny | cut -c1-16), .*seed 77" "$tmp/line" || note "$(cat "$tmp/line")" || return 1
    # and a line a window for those who want to watch
    ff -v verbose -f lavfi -i "magvit_src=d=1:$opts" -f null - 2> "$tmp/err" || return 1
    [ "$(grep -c 'magvit_src.*@.*window [01]: 1 of 1 tiles' "$tmp/err")" = 2 ] || note "windows: $(grep magvit_src "$tmp/err")" || return 1
    # a graph is made twice for -filter_complex, and one model serves all filters: it is opened once
    ff -v verbose -f lavfi -i "$(source 16x16 10 2 gray)" -filter_complex "magvit_interp=$opts,magvit_outpaint=w=24:$opts" -f null - 2> "$tmp/err" || return 1
    [ "$(grep -c 'MiB, workspace' "$tmp/err")" = 1 ] || note "the model is opened $(grep -c 'MiB, workspace' "$tmp/err") times"
}

# peak SOURCE FILTER: KiB that ffmpeg held at most, "kB" of FFmpeg 5
peak() { ff -v info -benchmark -f lavfi -i "$1" -vf "$2" -f null - 2>&1 | tee "$tmp/log" | sed -n 's/.*maxrss=\([0-9]*\)[kK]i*B.*/\1/p'; }

test_memory() {
    # ten times as many frames take as much
    for filter in magvit_interp=factor=2 magvit_inpaint=x=4:y=4:w=8:h=8 magvit_outpaint=w=40 magvit_predict=frames=3 magvit_interp=mode=repair; do
        short=$(peak "$(source 32x24 10 40 yuv420p)" "$filter:steps=1:$opts") && long=$(peak "$(source 32x24 10 400 yuv420p)" "$filter:steps=1:$opts") || return 1
        [ "$long" -gt 0 ] && [ "$long" -le $((short + 4096)) ] || note "$filter: $short KiB for 40 frames, $long KiB for 400" || return 1
    done
    # 4K within what the filter says that it takes, beside ffmpeg and 24 MiB of libraries; from FFmpeg 7 on its threads
    # have queues of up to eight frames, of 12 MiB each, before and behind a filter that makes a window of them at once
    others=24; "$FFMPEG" -version | grep -q '^libavfilter  *[1-9]\.' || others=$((24 + 2 * 8 * 12))
    src=$(source 3840x2160 2 16 yuv420p)
    plain=$(peak "$src" null) && with=$(peak "$src" "magvit_inpaint=x=400:y=400:w=16:h=16:steps=1:max_memory=500Mi:$opts") || return 1
    need=$(sed -n 's/.*, memory \([0-9]*\) MiB.*/\1/p' "$tmp/log")
    [ "${need:-999}" -le 500 ] && [ "$with" -le $((plain + (need + others) * 1024)) ] || note "4K: $plain KiB without the filter, $with with it, which says $need MiB" || return 1
    case ${BACKEND:-auto} in auto|cpu) ;; *) return ;; esac
    # the shipped model: as much, or up to a quarter more
    src=$(source 128x128 10 4 gray)
    plain=$(peak "$src" null) || return 1
    for precision in f32 auto; do
        with=$(peak "$src" "magvit_interp=factor=5:steps=1:backend=${BACKEND:-auto}:precision=$precision:max_memory=1Gi") || return 1
        need=$(sed -n 's/.*, memory \([0-9]*\) MiB.*/\1/p' "$tmp/log")
        [ "$with" -le $((plain + (${need:-0} + 24) * 1024)) ] && [ $((need * 1024 * 4)) -le $(((with - plain) * 5)) ] ||
            note "$precision: $plain KiB without the filter, $with with it, which says $need MiB" || return 1
    done
}

# ---------------------------------------------------------------- real clip, shipped model, tool

test_sample_clip() {
    clip=$(ls samples/*.mp4 | head -n 1)
    ff -i "$clip" -vf trim=end_frame=4,scale=128:128 -f yuv4mpegpipe "$tmp/in.y4m" || return 1
    ff -i "$tmp/in.y4m" -f framemd5 "$tmp/in.md5" || return 1
    sed -n 's/^0,.*, *//p' "$tmp/in.md5" > "$tmp/in"
    ff -i "$tmp/in.y4m" -vf "magvit_interp=factor=5:backend=${BACKEND:-auto}" -fps_mode passthrough -f framemd5 "$tmp/out.md5" || return 1
    sed -n 's/^0,.*, *//p' "$tmp/out.md5" > "$tmp/out"
    count "$clip" 20 "$tmp/out" || return 1
    every 5 "$tmp/out" > "$tmp/known"
    same "$clip" "$tmp/in" "$tmp/known"
}

# strips FILTER LEVEL X0:X1:Y0:Y1...: how far the means of these parts of 128x128 are from the level
strips() {
    filter=$1 level=$2; shift 2
    ff -f lavfi -i "color=gray:size=128x128:rate=10,trim=end_frame=3,format=gray,lut=$level" -vf "$filter" -f rawvideo "$tmp/seam.raw" || return 1
    for strip; do
        od -An -v -tu1 -w128 "$tmp/seam.raw" | awk -v strip="$strip" -v level="$level" '
            BEGIN { split(strip, s, ":") }
            { y = (NR - 1) % 128; if (y < s[3] || y >= s[4]) next; for (x = s[1]; x < s[2]; x++) { sum += $(x + 1); n++ } }
            END { off = sum / n - level; print off < 0 ? -off : off }'
    done
}

test_sample_seam() {
    for level in 48 128 208; do
        strips "magvit_inpaint=x=40:y=30:w=48:h=60" $level 40:41:30:90 41:42:30:90 42:43:30:90 43:44:30:90 84:85:30:90 85:86:30:90 \
            86:87:30:90 87:88:30:90 40:88:30:31 40:88:31:32 40:88:88:89 40:88:89:90 &&
        strips "crop=64:ih,magvit_outpaint=w=128:x=32" $level 30:31:0:128 31:32:0:128 96:97:0:128 97:98:0:128 || return 1
    done > "$tmp/off"
    awk '$1 > 1 { bad = 1 } END { exit bad || NR != 48 }' "$tmp/off" || note "columns and rows are off by $(paste -s -d' ' "$tmp/off")"
}

# A hole that moves: how much it changes from frame to frame, at window borders against inside of windows. Windows of 16
# frames share 4, so they begin at 12 and 24.
test_sample_flicker() {
    for clip in desk street garden; do
        ff -i samples/$clip.mp4 -vf "scale=192:128,trim=end_frame=40,magvit_inpaint=x=20+2*n:y=40:w=48:h=48,format=gray,tblend=all_mode=difference,crop=48:48:22+2*n:40" \
            -fps_mode passthrough -f rawvideo "$tmp/changes.raw" || return 1
        od -An -v -tu1 -w2304 "$tmp/changes.raw" | awk '
            { n = NR; sum = 0; for (i = 1; i <= NF; i++) sum += $i; if (n >= 12 && n % 12 <= 4) { b += sum; nb++ } else { a += sum; na++ } }
            END { if (n != 39) exit 1; print b / nb / (a / na) }' || { note "$clip: frames are missing"; return 1; }
    done > "$tmp/ratios"
    awk '{ sum += $1 } END { exit sum / NR > 1.1 }' "$tmp/ratios" || note "at borders $(paste -s -d' ' "$tmp/ratios") of what it is inside"
}

test_containers() {
    # through real encoders and muxers: rate, frames and duration survive
    ff -f lavfi -i "$(source 32x32 24 6 yuv420p)" -f lavfi -i sine=d=0.25 -vf "magvit_interp=factor=4:$opts" -c:v mpeg4 -c:a aac "$tmp/a.mp4" &&
    ff -f lavfi -i "$(source 32x32 24 6 yuv422p10le)" -vf "magvit_interp=factor=4:$opts" -c:v ffv1 "$tmp/a.mkv" || return 1
    for file in a.mp4 a.mkv; do
        "$FFPROBE" -v error -count_frames -select_streams v -show_entries stream=r_frame_rate,nb_read_frames -of csv=p=0 "$tmp/$file" > "$tmp/got"
        [ "$(cat "$tmp/got")" = 96/1,24 ] || note "$file: $(cat "$tmp/got"), expected 96/1,24" || return 1
    done
}

test_tool() {
    ff -f lavfi -i "$(source 32x32 10 5 yuv420p)" -f yuv4mpegpipe "$tmp/in.y4m" &&
    "$MAGVIT" run interp --quiet --model $tiny --backend "${BACKEND:-auto}" --factor 4 "$tmp/in.y4m" "$tmp/out.y4m" &&
    ff -i "$tmp/out.y4m" -f framemd5 "$tmp/md5" || return 1
    sed -n 's/^0,.*, *//p' "$tmp/md5" > "$tmp/tool"
    ff -i "$tmp/in.y4m" -vf "magvit_interp=factor=4:$opts" -fps_mode passthrough -f framemd5 "$tmp/md5" || return 1
    sed -n 's/^0,.*, *//p' "$tmp/md5" > "$tmp/filter"
    count tool 20 "$tmp/tool" && same "tool and filter" "$tmp/filter" "$tmp/tool" || return 1
    # the given frames first, as they were, then the number that was asked for
    "$MAGVIT" run predict --quiet --model $tiny --backend "${BACKEND:-auto}" --frames 9 --cond-frames 2 "$tmp/in.y4m" "$tmp/p.y4m" &&
    ff -i "$tmp/p.y4m" -f framemd5 "$tmp/md5" && ff -i "$tmp/in.y4m" -f framemd5 "$tmp/in.md5" || return 1
    sed -n 's/^0,.*, *//p' "$tmp/md5" > "$tmp/tool"
    sed -n 's/^0,.*, *//p' "$tmp/in.md5" > "$tmp/given"
    head -n 5 "$tmp/tool" > "$tmp/kept"
    count predict 14 "$tmp/tool" && same "given frames of predict" "$tmp/given" "$tmp/kept" || return 1
    # the frames that the source makes
    "$MAGVIT" run generate --quiet --model $tiny --backend "${BACKEND:-auto}" --frames 20 --class cube --fps 10 "$tmp/g.y4m" &&
    ff -i "$tmp/g.y4m" -vf scale=in_color_matrix=bt601,format=gbrp -f rawvideo "$tmp/tool.raw" &&
    ff -f lavfi -i "magvit_src=class=cube:r=10:d=2:$opts" -f rawvideo "$tmp/filter.raw" || return 1
    [ "$(wc -c < "$tmp/tool.raw")" = $((20 * 3 * 32 * 32)) ] || note "generate: $(wc -c < "$tmp/tool.raw") bytes" || return 1
    cmp -l "$tmp/tool.raw" "$tmp/filter.raw" | awk 'function o(s) { return int(s / 100) * 64 + int(s / 10) % 10 * 8 + s % 10 }
        NR <= 3 * 32 * 32 && $1 <= 3 * 32 * 32 { d = o($2) - o($3); if (d > 6 || d < -6) n++ } END { exit n > 30 }' ||
        note "generate: the tool and the source make different first frames" || return 1
    if "$MAGVIT" run generate --quiet --model $tiny --frames 2 --class dog "$tmp/g.y4m" 2> "$tmp/err"; then
        note "unknown class: exit status 0"; return 1
    fi
    grep -q "ball,cube,cone" "$tmp/err" || note "unknown class: $(cat "$tmp/err")" || return 1
    "$MAGVIT" info --model $tiny > "$tmp/info" && grep -q 32 "$tmp/info" || note "info: $(cat "$tmp/info")" || return 1
    if "$MAGVIT" run interp --quiet --model "$tmp/none" "$tmp/in.y4m" "$tmp/out.y4m" 2> "$tmp/err"; then
        note "missing model: exit status 0"; return 1
    fi
    [ "$(lines "$tmp/err")" = 1 ] || note "missing model: $(cat "$tmp/err")"
}

# ---------------------------------------------------------------- documentation

# commands: those of doc/FILTERS.md, from its indented lines and its table of tasks; those that need a device are in hwframes.sh
commands() { sed -n '/-init_hw_device/d; s/^    \(ffmpeg .*\)/\1/p; s/^|.*| `\(ffmpeg [^`]*\)` |$/\1/p' doc/FILTERS.md; }

test_examples() {
    root=$PWD
    mkdir -p "$tmp/doc/bin" "$tmp/doc/build" && ln -s "$root/samples" "$tmp/doc/samples" &&
        ln -s "$FFMPEG" "$tmp/doc/bin/ffmpeg" && ln -s "$MAGVIT" "$tmp/doc/build/magvit" || return 1
    ff -f lavfi -i "$(source 160x120 24 6 yuv420p)" -c:v mpeg4 "$tmp/doc/in.mp4" &&
    ff -f lavfi -i "$(source 72x96 24 4 yuv420p)" -c:v mpeg4 "$tmp/doc/portrait.mp4" &&
    ff -f lavfi -i "$(source 32x128 24 2 yuv420p)" -c:v mpeg4 "$tmp/doc/strip.mp4" &&
    ff -f lavfi -i "$(source 160x120 24 6 gray)" -c:v ffv1 "$tmp/doc/mask.mkv" || return 1
    for logo in logo.png logo.pgm; do
        ff -f lavfi -i "$(source 160x120 24 1 gray)" "$tmp/doc/$logo" || return 1
    done
    commands > "$tmp/commands"
    for task in FP FI OPC OPV OPH OPD IPC IPD CG CFP; do
        grep -q "^| $task | .*| .ffmpeg" doc/FILTERS.md || note "no command for $task" || return 1
    done
    grep -q '| build/magvit run .* | ffmpeg' "$tmp/commands" || note "no pipe to the command line tool" || return 1
    [ "$(lines "$tmp/commands")" -ge 18 ] || note "$(lines "$tmp/commands") commands" || return 1
    while read -r command; do
        out=${command##* }
        rm -f "$tmp/doc/$out"
        (cd "$tmp/doc" && PATH=$tmp/doc/bin:$PATH MAGVIT_MODEL_PATH=$root/$tiny \
            timeout 300 sh -c "$command" < /dev/null > "$tmp/err" 2>&1) || note "$command: $(tail -n 3 "$tmp/err")" || return 1
        [ -s "$tmp/doc/$out" ] || note "$command: nothing was written" || return 1
    done < "$tmp/commands"
}
