# Tests of what goes wrong: bad options, bad input, failures while running. The
# rule: one line that says what is wrong, an exit status that is not 0 or what
# the documentation says instead, and all frames before it are out.
# Part of libmagvit, LGPL-2.1-or-later, see LICENSE.

test_model_errors() {
    src=$(source 16x16 10 3 yuv420p)
    head -c 20000 $tiny > "$tmp/truncated.safetensors"
    echo "this is a text" > "$tmp/text.safetensors"
    : > "$tmp/empty.safetensors"
    refuses "no-such-file" -f lavfi -i "$src" -vf magvit_interp=model="$tmp/no-such-file.safetensors" &&
    refuses "truncated"    -f lavfi -i "$src" -vf magvit_interp=model="$tmp/truncated.safetensors" &&
    refuses "text"         -f lavfi -i "$src" -vf magvit_inpaint=x=0:y=0:w=8:h=8:model="$tmp/text.safetensors" &&
    refuses "empty"        -f lavfi -i "$src" -vf magvit_outpaint=w=32:h=32:model="$tmp/empty.safetensors"
}

test_class_errors() {
    src=$(source 16x16 10 3 yuv420p)
    shipped=$(ls models/*.safetensors | head -n 1)
    refuses "'dog'.*ball,cube,cone or a number in \[0,2\]" -f lavfi -i "$src" -vf "magvit_predict=class=dog:$opts" &&
    refuses "'3'.*ball,cube,cone or a number in \[0,2\]"   -f lavfi -i "magvit_src=class=3:$opts" &&
    refuses "duration.*both set, expected one"             -f lavfi -i "$src" -vf "magvit_predict=frames=3:duration=1:$opts" &&
    refuses "cond_frames is 16, must be in \[1,15\]"       -f lavfi -i "$src" -vf "magvit_predict=cond_frames=16:$opts" &&
    refuses "duration.*too long"                           -f lavfi -i "$src" -vf "magvit_predict=duration=300000000:$opts" || return 1
    "$MAGVIT" info --model "$shipped" | grep -q '^classes *0' || return 0 # a shipped model with classes can do all
    refuses "has no classes"                               -f lavfi -i "$src" -vf "magvit_predict=class=0:model=$shipped" &&
    refuses "expected one that knows generation"           -f lavfi -i "magvit_src=model=$shipped"
}

test_option_errors() {
    src=$(source 16x16 10 3 yuv420p)
    refuses "fps: x+1"           -f lavfi -i "$src" -vf magvit_interp=x+1:$opts &&
    for fps in -3 0 0/1 nan inf -inf 1/0 source-source log\(-1\) 1e300; do
        refuses "fps: $fps is not valid, expected" -f lavfi -i "$src" -vf "magvit_interp=fps=$fps:$opts" || return 1
    done
    refuses "fps: 60 and factor: 3" -f lavfi -i "$src" -vf magvit_interp=fps=60:factor=3:$opts &&
    refuses "Option factor"      -f lavfi -i "$src" -vf magvit_interp=mode=repair:factor=2:$opts &&
    refuses "Option fps"         -f lavfi -i "$src" -vf magvit_interp=mode=repair:fps=60:$opts &&
    refuses "w is not set"       -f lavfi -i "$src" -vf magvit_inpaint=x=1:y=1:h=8:$opts &&
    refuses "x: foo"             -f lavfi -i "$src" -vf magvit_inpaint=x=foo:y=1:w=8:h=8:$opts &&
    refuses "within 16x16"       -f lavfi -i "$src" -vf magvit_inpaint=x=16:y=0:w=8:h=8:$opts &&
    refuses "no hole"            -f lavfi -i "$src" -vf magvit_inpaint=x=4:y=4:w=0:h=8:$opts &&
    refuses "expected at least"  -f lavfi -i "$src" -vf magvit_outpaint=w=8:h=16:$opts &&
    refuses "expected at least"  -f lavfi -i "$src" -vf magvit_outpaint=w=-3:$opts &&
    refuses "at most 32768"      -f lavfi -i "$src" -vf magvit_outpaint=w=40000:$opts &&
    refuses "w: 0/0"             -f lavfi -i "$src" -vf magvit_outpaint=w=0/0:$opts &&
    refuses "left: -4 is -4"     -f lavfi -i "$src" -vf magvit_outpaint=left=-4:$opts &&
    refuses "top: 0/0"           -f lavfi -i "$src" -vf magvit_outpaint=top=0/0:$opts &&
    refuses "together with option w"      -f lavfi -i "$src" -vf magvit_outpaint=w=32:right=8:$opts &&
    refuses "together with option aspect" -f lavfi -i "$src" -vf magvit_outpaint=aspect=2:top=8:$opts &&
    refuses "max_memory allows 1.0 MiB"   -f lavfi -i "$src" -vf magvit_interp=max_memory=1M:$opts &&
    refuses "max_memory allows 1024.0 MiB" -f lavfi -i "color=size=7680x4320,trim=end_frame=1" -vf magvit_outpaint=w=iw*2:scale=tile:max_memory=1Gi:$opts &&
    refuses "h: 1/0"             -f lavfi -i "$src" -vf magvit_outpaint=w=32:h=1/0:$opts &&
    refuses "schedule"           -f lavfi -i "$src" -vf magvit_interp=schedule=foo:$opts &&
    refuses "top_"               -f lavfi -i "$src" -vf magvit_interp=top_k=5:top_p=0.5:$opts || return 1
    # what FFmpeg's own option parser refuses
    for option in scd=x scd_threshold=101 dup_threshold=-1 mode=x backend=foo factor=99 steps=-1 scale=big seed=x no_such_option=1; do
        if ff -f lavfi -i "$src" -vf "magvit_interp=$option:model=$tiny" -f null - 2> "$tmp/err"; then
            note "$option: exit status 0"; return 1
        fi
        grep -q "${option%=*}" "$tmp/err" || note "$option is not named: $(cat "$tmp/err")" || return 1
    done
}

# What is refused before any frame, filter by filter.
test_bad_input() {
    src=$(source 16x16 10 3 yuv420p)
    for filter in magvit_interp magvit_inpaint=x=2:y=2:w=4:h=4 magvit_outpaint=w=24 magvit_predict; do
        join=$(case $filter in *=*) echo : ;; *) echo = ;; esac)
        refuses "max_memory allows 0.0 MiB" -f lavfi -i "$src" -vf "$filter${join}max_memory=1000:$opts" || return 1
    done
    refuses "max_memory allows 0.0 MiB" -f lavfi -i "magvit_src=max_memory=1000:$opts" || return 1
    # a value that is no number from the start on
    for option in x y w h; do
        rect=$(echo "x=2:y=2:w=4:h=4" | sed "s#$option=[0-9]#$option=0/0#")
        refuses "Option $option: 0/0 is" -f lavfi -i "$src" -vf "magvit_inpaint=$rect:$opts" || return 1
        refuses "Option $option: 0/0 is not valid" -f lavfi -i "$src" -vf "magvit_outpaint=w=24:h=24:$option=0/0:$opts" || return 1
    done
}

# broken FRAME...: good.avi with bytes overwritten in those packets
broken() {
    cp "$tmp/good.avi" "$tmp/broken.avi" || return 1
    for which; do
        packet=$("$FFPROBE" -v error -show_entries packet=pos,size -of csv=p=0 "$tmp/good.avi" | sed -n "$((which + 1))p")
        size=${packet%%,*} pos=${packet#*,}
        pos=${pos%%,*}
        dd if=/dev/zero of="$tmp/broken.avi" bs=1 seek=$((pos + 8 + size / 3)) count=$((size / 2)) conv=notrunc 2> /dev/null || return 1
    done
}

# of_broken FILTER: checksums of the frames of broken.avi behind a filter
of_broken() { ff -i "$tmp/broken.avi" -vf "$1" -fps_mode passthrough -f framemd5 "$tmp/framemd5" 2> "$tmp/err"; sed -n 's/^0,.*, *//p' "$tmp/framemd5"; }

test_corrupt() {
    ff -f lavfi -i "$(source 64x48 3 24 yuv420p)" -c:v mpeg4 -g 1 -q:v 2 "$tmp/good.avi" && broken 9 17 18 || return 1
    ff -i "$tmp/good.avi" -f framemd5 "$tmp/framemd5" && sed -n 's/^0,.*, *//p' "$tmp/framemd5" > "$tmp/good" || return 1
    of_broken null > "$tmp/in"
    count "broken stream" 24 "$tmp/in" || return 1
    [ "$(paste "$tmp/good" "$tmp/in" | awk '$1 != $2 { print NR - 1 }' | paste -s -d' ')" = "9 17 18" ] || note "other frames are broken" || return 1
    # no filter stops at it, all frames come, those that are given as the decoder gave them
    of_broken "magvit_interp=factor=2:$opts" > "$tmp/out"; every 2 "$tmp/out" > "$tmp/known"
    count "interp" 48 "$tmp/out" && same "interp" "$tmp/in" "$tmp/known" || return 1
    of_broken "magvit_outpaint=w=80:x=8:$opts,crop=64:48:8:0" > "$tmp/known"
    same "outpaint" "$tmp/in" "$tmp/known" || return 1
    of_broken "magvit_inpaint=x=8:y=8:w=16:h=16:$opts,fillborders=left=24:top=24:mode=fixed" > "$tmp/out"
    of_broken "fillborders=left=24:top=24:mode=fixed" > "$tmp/known"
    same "inpaint" "$tmp/known" "$tmp/out" || return 1
    of_broken "magvit_predict=frames=2:$opts" > "$tmp/out"; head -n 24 "$tmp/out" > "$tmp/known"
    count "predict" 26 "$tmp/out" && same "predict" "$tmp/in" "$tmp/known" || return 1
    # and these are what repair makes anew
    of_broken "magvit_interp=mode=repair:$opts" > "$tmp/out"
    [ "$(paste "$tmp/in" "$tmp/out" | awk '$1 != $2 { print NR - 1 }' | paste -s -d' ')" = "9 17 18" ] ||
        note "repaired: $(paste "$tmp/in" "$tmp/out" | awk '$1 != $2 { print NR - 1 }' | paste -s -d' ')" || return 1
    # a file that ends in the middle of a packet
    packet=$("$FFPROBE" -v error -show_entries packet=pos,size -of csv=p=0 "$tmp/good.avi" | sed -n 14p)
    pos=${packet#*,}
    head -c $((${pos%%,*} + 8 + ${packet%%,*} / 2)) "$tmp/good.avi" > "$tmp/broken.avi"
    of_broken null > "$tmp/in"; of_broken "magvit_interp=factor=2:$opts" > "$tmp/out"; every 2 "$tmp/out" > "$tmp/known"
    [ "$(lines "$tmp/in")" -ge 13 ] || note "$(lines "$tmp/in") frames of the cut file" || return 1
    same "cut file" "$tmp/in" "$tmp/known"
}

# breaks PATTERN COUNT ffmpeg-arguments...: the run fails while it runs, with one line that says why, and COUNT frames
# are out, $tmp/out
breaks() {
    pattern=$1 expected=$2; shift 2
    rm -f "$tmp/md5"
    ff "$@" -fps_mode passthrough -f framemd5 "$tmp/md5" 2> "$tmp/err"
    case $? in 0|124) note "exit status 0, or timeout: $*"; return 1 ;; esac
    grep -a 'magvit_[a-z]*_[0-9]* @' "$tmp/err" > "$tmp/ours"
    [ "$(lines "$tmp/ours")" = 1 ] && grep -aq -- "$pattern" "$tmp/ours" || note "no single line with '$pattern': $(cat "$tmp/err")" || return 1
    sed -n 's/^0,.*, *//p' "$tmp/md5" > "$tmp/out"
    count "frames before it" "$expected" "$tmp/out" || { note "$*"; return 1; }
}

# as_if FILTER N SOURCE: what comes of the first N frames alone
as_if() { md5 "$3,trim=end_frame=$2" "$1" > "$tmp/whole" && same "$1: frames before number $2" "$tmp/whole" "$tmp/out"; }

# All frames before the one that fails are out, and are those that a stream makes which ends there: in the first window,
# at its last frame, in the next ones, and at the end of the stream.
test_run_errors() {
    clip=$(source 16x16 10 40 yuv420p)
    for n in 1 5 15 16 30 39; do
        still="setpts=if(eq(N\,$n)\,0\,N)"
        breaks "frame $n: pts 0 does not rise" $((2 * n)) -f lavfi -i "$clip,trim=end_frame=$((n + 1))" -vf "$still,magvit_interp=$opts" &&
        as_if "magvit_interp=$opts" $n "$clip" &&
        breaks "does not rise" $n -f lavfi -i "$clip" -vf "$still,magvit_interp=mode=repair:dup_threshold=0:$opts" &&
        breaks "does not rise" $n -f lavfi -i "$clip" -vf "$still,magvit_predict=frames=5:$opts" &&
        breaks "Option x: .*nan at frame $n" $n -f lavfi -i "$clip" -vf "magvit_inpaint=x=if(eq(n\,$n)\,0/0\,2):y=2:w=4:h=4:$opts" &&
        as_if "magvit_inpaint=x=2+0*n:y=2:w=4:h=4:$opts" $n "$clip" &&
        breaks "Option w: .* -1 at frame $n" $n -f lavfi -i "$clip" -vf "magvit_inpaint=x=2:y=2:w=if(lt(n\,$n)\,4\,-1):h=4:show=mask" &&
        breaks "x: if(eq(n,$n),0/0,2) is not valid" $n -f lavfi -i "$clip" -vf "magvit_outpaint=w=24:x=if(eq(n\,$n)\,0/0\,2):eval=frame:$opts" &&
        as_if "magvit_outpaint=w=24:x=2+0*n:eval=frame:$opts" $n "$clip" || return 1
    done
}

test_run_errors_chain() {
    clip=$(source 16x16 10 40 yuv420p)
    fails="magvit_inpaint=x=if(eq(n\,30)\,0/0\,2):y=2:w=4:h=4:$opts"
    # the windows that later filters of ours hold come out, too
    breaks "nan at frame 30" 60 -f lavfi -i "$clip" -vf "$fails,magvit_interp=factor=2:scd=none:$opts" || return 1
    ends="magvit_inpaint=x=2+0*n:y=2:w=4:h=4:$opts,hflip,magvit_outpaint=w=24:$opts"
    breaks "nan at frame 30" 30 -f lavfi -i "$clip" -vf "$fails,hflip,magvit_outpaint=w=24:$opts" && as_if "$ends" 30 "$clip" || return 1
    # whatever other filters make of it, the run fails
    for after in "split[a][b];[a][b]hstack" "split[a][b];[a]lutyuv=y=negval[c];[b][c]psnr" loop=2:4:1 tpad=stop=3 fps=20 reverse; do
        ff -f lavfi -i "$clip" -filter_complex "$fails,$after" -f null - 2> "$tmp/err"
        case $? in 0|124) note "$after: exit status 0, or timeout"; return 1 ;; esac
        [ "$(grep -c 'nan at frame 30' "$tmp/err")" = 1 ] || note "$after: $(cat "$tmp/err")" || return 1
    done
    # an encoder that holds frames back gives them, and the file can be read
    if ff -f lavfi -i "$clip" -vf "$fails" -c:v mpeg4 -bf 2 "$tmp/a.mp4" 2> "$tmp/err"; then note "mp4: exit status 0"; return 1; fi
    [ "$("$FFPROBE" -v error -count_frames -show_entries stream=nb_read_frames -of csv=p=0 "$tmp/a.mp4")" = 30 ] ||
        note "the file has $("$FFPROBE" -v error -count_frames -show_entries stream=nb_read_frames -of csv=p=0 "$tmp/a.mp4") frames"
}

# nan_model: $tmp/nan.safetensors, whose first weights are no numbers: those of the decoder, whose values are then not finite
nan_model() {
    cp $tiny "$tmp/nan.safetensors"
    i=0; while [ $i -lt 12 ]; do printf '\377\377\377\377'; i=$((i + 1)); done |
        dd of="$tmp/nan.safetensors" bs=1 seek=$((8 + $(od -An -tu8 -N8 $tiny))) conv=notrunc 2> /dev/null
}

# A window that fails ends the run with fallback=error: what it makes is missing, all frames before are out.
test_run_errors_window() {
    nan_model; nan=model=$tmp/nan.safetensors:backend=${BACKEND:-auto}
    clip="$(source 16x16 2 40 yuv420p)"
    breaks "not finite" 1  -f lavfi -i "$clip" -vf "magvit_interp=factor=2:$nan" &&
    breaks "not finite" 0  -f lavfi -i "$clip" -vf "magvit_outpaint=w=24:$nan" &&
    breaks "not finite" 40 -f lavfi -i "$clip" -vf "magvit_predict=frames=5:$nan" || return 1
    for n in 1 15 20 30; do
        # nothing to make before frame n
        breaks "not finite" $n -f lavfi -i "$clip" -vf "magvit_inpaint=x=2:y=2:w=4:h=4:enable=gte(n\,$n):$nan" &&
        as_if null $n "$clip" &&
        breaks "not finite" $n -f lavfi -i "$clip" -vf "metadata=add:key=lavfi.magvit.repair:value=1:enable=eq(n\,$n),magvit_interp=mode=repair:dup_threshold=0:$nan" || return 1
    done
}

test_fallback() {
    nan_model
    nan=model=$tmp/nan.safetensors:backend=${BACKEND:-auto}
    src="$(source 32x32 2 20 yuv420p)"
    refuses "not finite" -f lavfi -i "$src" -vf "magvit_interp=factor=2:$nan" || return 1
    md5 "$src" null > "$tmp/in" || return 1
    for mode in copy blend; do
        for filter in magvit_interp=factor=2 magvit_inpaint=x=4:y=4:w=8:h=8 magvit_outpaint=right=16; do
            ff -v warning -f lavfi -i "$src" -vf "$filter:fallback=$mode:$nan" -fps_mode passthrough -f framemd5 "$tmp/md5" 2> "$tmp/err" || return 1
            sed -n 's/^0,.*, *//p' "$tmp/md5" > "$tmp/out"
            [ "$(grep -c 'magvit_.*@.*failed' "$tmp/err")" = 1 ] || note "$filter, $mode: $(cat "$tmp/err")" || return 1
            case $filter-$mode in
            *interp*copy)  count "$filter" 40 "$tmp/out" && every 2 "$tmp/out" > "$tmp/a" && sed 1d "$tmp/out" | every 2 - > "$tmp/b" &&
                           same "$filter, the frame before" "$tmp/in" "$tmp/b" ;;
            *interp*blend) count "$filter" 40 "$tmp/out" && every 2 "$tmp/out" > "$tmp/a" && sed 1d "$tmp/out" | every 2 - > "$tmp/b" &&
                           head -n 19 "$tmp/b" | sort > "$tmp/blends" && sort "$tmp/in" | comm -12 - "$tmp/blends" > "$tmp/copies" &&
                           [ ! -s "$tmp/copies" ] || note "$filter: not blended" ;;
            *inpaint*)     same "$filter, as it came" "$tmp/in" "$tmp/out" && cp "$tmp/in" "$tmp/a" ;;
            *)             md5 "$src" "pad=48:32,fillborders=right=16:mode=smear" > "$tmp/a" &&
                           same "$filter, smeared" "$tmp/a" "$tmp/out" && cp "$tmp/in" "$tmp/a" ;;
            esac || return 1
            same "$filter, known" "$tmp/in" "$tmp/a" || return 1
        done
    done
}
