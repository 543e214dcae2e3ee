# Tests of other programs: those that are preloaded, and pipes to the command
# line tool. What is not installed is skipped, and the line of the test says so.
# Part of libmagvit, LGPL-2.1-or-later, see LICENSE.

preload=$here/build/preload/libmagvit-preload.so

needs_preload() { [ -f "$preload" ] || skip "make preload was not run"; }
needs() { command -v "$1" > /dev/null || skip "$1 is not installed"; }

test_preload() {
    needs_preload || return
    [ "$("$here/build/magvit-ffmpeg" -hide_banner -filters 2> /dev/null | grep -c ' magvit_')" = 5 ] || note "not all filters are listed" || return 1
    "$here/build/magvit-ffmpeg" -hide_banner -h filter=magvit_inpaint 2> /dev/null | grep -q '  mask_input ' || note "no help" || return 1
    # made for another release, of as many letters
    release=$(sed -n '1s/ .*//p' "$here/build/preload/made-for")
    sed "s/$release/$(echo "$release" | tr 0-9 3)/g" "$preload" > "$tmp/other.so"
    if LD_PRELOAD=$tmp/other.so "$(sed -n 's/^ffmpeg=//p' "$here/build/magvit-ffmpeg")" -version > /dev/null 2> "$tmp/err"; then note "another release runs"; return 1; fi
    [ "$(lines "$tmp/err")" = 1 ] && grep -q "^magvit-preload: made for FFmpeg 3.3.3.*, but this program has $release: run" "$tmp/err" || note "$(cat "$tmp/err")"
}

# mpv makes the frames that ffmpeg makes, and plays them
test_mpv() {
    needs_preload && needs mpv || return
    ff -f lavfi -i "$(source 48x40 10 20 yuv420p)" -c:v ffv1 "$tmp/in.mkv" || return 1
    mpv() { timeout 100 env LD_PRELOAD="$preload" mpv --no-config --really-quiet "$@" "$tmp/in.mkv" < /dev/null; }
    for filter in magvit_inpaint=x=8:y=8:w=16:h=16 magvit_interp=factor=2 magvit_outpaint=right=16 magvit_predict=frames=5; do
        ff -i "$tmp/in.mkv" -vf "$filter:$opts" -fps_mode passthrough -f framemd5 "$tmp/md5" &&
        mpv --vf="lavfi=[$filter:$opts]" --ovc=ffv1 --of=matroska --o="$tmp/out.mkv" || note "mpv: $filter" || return 1
        sed -n 's/^0,.*, *//p' "$tmp/md5" > "$tmp/ffmpeg"
        ff -i "$tmp/out.mkv" -fps_mode passthrough -f framemd5 "$tmp/md5" || return 1
        sed -n 's/^0,.*, *//p' "$tmp/md5" > "$tmp/mpv"
        same "$filter, mpv and ffmpeg" "$tmp/ffmpeg" "$tmp/mpv" || return 1
    done
    for filter in "lavfi=[magvit_inpaint=x=8:y=8:w=16:h=16:$opts]" "magvit_interp=$opts"; do
        mpv --vf="$filter" --vo=null --untimed || note "mpv does not play $filter" || return 1
    done
}

# MLT wants a frame for every frame, at once: what works in windows goes through a pipe
test_melt() {
    needs melt || return
    ff -f lavfi -i "$(source 48x40 10 20 yuv420p)" -c:v ffv1 "$tmp/in.mkv" || return 1
    melt() { timeout 100 melt -silent "$tmp/in.mkv" -consumer avformat:"$1" f=yuv4mpegpipe vcodec=wrapped_avframe pix_fmt=yuv420p an=1 real_time=-1 2> /dev/null < /dev/null; }
    melt "$tmp/in.y4m" && ff -i "$tmp/in.y4m" -f framemd5 "$tmp/in.md5" &&
    melt pipe:1 | "$MAGVIT" run interp --quiet --model $tiny --backend "${BACKEND:-auto}" - - | ff -i - -f framemd5 "$tmp/md5" || note "melt or magvit" || return 1
    sed -n 's/^0,.*, *//p' "$tmp/in.md5" > "$tmp/in"
    sed -n 's/^0,.*, *//p' "$tmp/md5" > "$tmp/out"; every 2 "$tmp/out" > "$tmp/known"
    count "melt" 40 "$tmp/out" && same "known frames through melt" "$tmp/in" "$tmp/known"
}
