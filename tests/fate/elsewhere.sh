# Tests of other programs: those that are preloaded, and pipes to the command
# line tool. What is not installed is skipped, and the line of the test says so.
# Part of libmagvit, LGPL-2.1-or-later, see LICENSE.

# ---------------------------------------------------------------- the command line tool

# run_tool TASK OPTION... IN OUT
run_tool() { task=$1; shift; timeout 300 "$MAGVIT" run "$task" --quiet --model $tiny --backend "${BACKEND:-auto}" "$@"; }

# sums FILE: checksums of its frames
sums() { ff -i "$1" -fps_mode passthrough -f framemd5 "$tmp/sums.md5" && sed -n 's/^0,.*, *//p' "$tmp/sums.md5"; }

# a cut and frames twice: with each option the tool makes what the filter makes with its own
test_tool_interp() {
    for format in yuv420p yuv444p10le; do
        ff -f lavfi -i "testsrc2=size=32x24:rate=5,trim=end_frame=20,lutyuv=y=negval:enable='gte(n\,7)',select='not(eq(n\,12)+between(n\,14\,15))',setpts=PTS,fps=5,format=$format" \
            -strict -1 -f yuv4mpegpipe "$tmp/in.y4m" || return 1
        while read -r filter; do
            options=$(echo ":$filter" | sed 's/:\([a-z]*\)_/:\1-/g; s/:/ --/g; s/=/ /g')
            run_tool interp $options "$tmp/in.y4m" "$tmp/out.y4m" && sums "$tmp/out.y4m" > "$tmp/tool" &&
            ff -i "$tmp/in.y4m" -vf "magvit_interp=$filter:$opts" -fps_mode passthrough -f framemd5 "$tmp/md5" || return 1
            sed -n 's/^0,.*, *//p' "$tmp/md5" > "$tmp/filter"
            same "$format $filter" "$tmp/filter" "$tmp/tool" || return 1
            cp "$tmp/tool" "$tmp/$(echo "$filter" | tr : ,)"
        done <<END
factor=2
factor=2:scd=none
factor=2:dup_threshold=0
factor=2:scd_threshold=100
mode=repair
mode=repair:dup_threshold=0
END
        differ "scd" "$tmp/factor=2" "$tmp/factor=2,scd=none" && differ "dup" "$tmp/factor=2" "$tmp/factor=2,dup_threshold=0" &&
            same "no cut" "$tmp/factor=2,scd=none" "$tmp/factor=2,scd_threshold=100" &&
            differ "repair" "$tmp/mode=repair" "$tmp/mode=repair,dup_threshold=0" || return 1
    done
    for options in "--scd x" "--scd-threshold 101" "--dup-threshold -1" "--mode x" "--mode repair --factor 3" "--fallback x" "--max-memory -1"; do
        if run_tool interp $options "$tmp/in.y4m" "$tmp/out.y4m" 2> "$tmp/err"; then note "$options: exit status 0"; return 1; fi
        [ "$(lines "$tmp/err")" = 1 ] || note "$options: $(cat "$tmp/err")" || return 1
    done
}

# a bench has the same rows with and without a limit; those that a slow device has no time for say so
test_tool_bench() {
    bench() { "$MAGVIT" bench --quiet --model $tiny --backend cpu --threads 1 "$@" 32x24 64x48; }
    "$MAGVIT" info --quiet --model $tiny --backend cpu > /dev/null 2>&1 || skip "no cpu backend" || return
    bench > "$tmp/all" && bench --seconds 300 > "$tmp/in-time" && bench --seconds 50 --gflops 0.0001 > "$tmp/slow" ||
        note "exit status not 0" || return 1
    for rows in all in-time slow; do
        cut -d ' ' -f 1 "$tmp/$rows" > "$tmp/$rows-names"
        same "$rows" "$tmp/all-names" "$tmp/$rows-names" || return 1
    done
    grep 'skipped: expected [0-9.]* s, limit [0-9.]* s' "$tmp/slow" > "$tmp/skipped"
    count "skipped" 6 "$tmp/skipped" || return 1
    if grep skipped "$tmp/all" "$tmp/in-time"; then note "skipped in time"; return 1; fi
}

# what auto takes, by instructions that oneDNN may use: less of them than there are
test_tool_precision() {
    # device ISA PRECISION: as the tool describes it; empty if the precision is refused
    device() { ONEDNN_MAX_CPU_ISA=$1 "$MAGVIT" bench --quiet --model $tiny --backend cpu --threads 1 --precision "$2" 2> "$tmp/err" | head -n 1; }
    case $(device AVX512_CORE_BF16 f32) in *" avx512_core_bf16, f32,"*) ;; *) skip "no oneDNN, AVX512_BF16 or ONEDNN_MAX_CPU_ISA"; return ;; esac
    if grep -q GenuineIntel /proc/cpuinfo; then fast=f32; else fast=bf16; fi
    while read -r isa asked taken; do
        case $(device "$isa" "$asked") in *", $taken, 1 thread"*) ;; *) note "$isa, $asked: not $taken"; return 1 ;; esac
    done <<END
AVX512_CORE f32 f32
AVX512_CORE auto f32
AVX512_CORE_BF16 auto $fast
AVX512_CORE_BF16 bf16 bf16
AVX512_CORE_BF16 int8 int8 and $fast
END
    case $(device DEFAULT f32) in *" avx512_core_amx, "*) ;; *) return 0 ;; esac
    case $(device DEFAULT auto) in *", bf16, 1 thread"*) ;; *) note "AMX: not bf16"; return 1 ;; esac
}

# A stream that is cut off in the middle of a frame: what came before is out, the exit status is not 0.
test_tool_damaged() {
    ff -f lavfi -i "$(source 32x24 10 21 yuv420p)" -f yuv4mpegpipe "$tmp/in.y4m" || return 1
    head -c $(($(wc -c < "$tmp/in.y4m") - 100)) "$tmp/in.y4m" > "$tmp/cut.y4m"
    sums "$tmp/in.y4m" | head -n 20 > "$tmp/in"
    for case in interp,40, predict,20,--frames+5 "inpaint,20,-x+2+-y+2+-w+8+-h+8" outpaint,20,--width+40; do
        task=${case%%,*} options=$(echo "${case##*,}" | tr + ' ') frames=${case#*,}
        if run_tool "$task" $options "$tmp/cut.y4m" "$tmp/out.y4m" 2> "$tmp/err"; then note "$task: exit status 0"; return 1; fi
        [ "$(lines "$tmp/err")" = 1 ] || note "$task: $(cat "$tmp/err")" || return 1
        sums "$tmp/out.y4m" > "$tmp/out"
        count "$task" "${frames%%,*}" "$tmp/out" || return 1
    done
}

# ---------------------------------------------------------------- other programs

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
    # MLT 7.12 now and then waits for ever before its first frame, whatever it writes to
    melt() {
        for try in 1 2 3 4 5 6; do
            timeout 25 melt -silent "$tmp/in.mkv" -consumer avformat:"$1" f=yuv4mpegpipe vcodec=wrapped_avframe \
                pix_fmt=yuv420p an=1 real_time=-1 2> /dev/null < /dev/null && return
        done
        return 1
    }
    melt "$tmp/in.y4m" && ff -i "$tmp/in.y4m" -f framemd5 "$tmp/in.md5" &&
    melt pipe:1 | "$MAGVIT" run interp --quiet --model $tiny --backend "${BACKEND:-auto}" - - | ff -i - -f framemd5 "$tmp/md5" || note "melt or magvit" || return 1
    sed -n 's/^0,.*, *//p' "$tmp/in.md5" > "$tmp/in"
    sed -n 's/^0,.*, *//p' "$tmp/md5" > "$tmp/out"; every 2 "$tmp/out" > "$tmp/known"
    count "melt" 40 "$tmp/out" && same "known frames through melt" "$tmp/in" "$tmp/known"
}
