# Tests of devices: windows that they compute together, and frames in their memory, here Vulkan's, for which Mesa's
# lavapipe is enough. An ffmpeg without them, or a machine without a driver, is
# skipped, and the line of the test says so.
# Part of libmagvit, LGPL-2.1-or-later, see LICENSE.

hw() { ff -init_hw_device vulkan=vk:0 -filter_hw_device vk "$@"; }

needs_hw() {
    hw -f lavfi -i "$(source 32x32 5 2 nv12)" -vf hwupload,hwdownload,format=nv12 -f null - > /dev/null 2> "$tmp/err" ||
        skip "this ffmpeg has no frames in Vulkan's memory, or no driver that serves it: $(head -n 1 "$tmp/err")"
}

# uploaded SOURCE FILTERS OUTPUT...: frames on the device through filters. Before FFmpeg 8.1 hwupload lets go of a frame that
# the device may still read: reverse keeps them all. It needs an output of its own, as 7.1 aborts where frames of it go nowhere.
keep="split[up][kept];[kept]reverse[kept]"
uploaded() {
    from=$1 filters=$2; shift 2
    hw -f lavfi -i "$from" -filter_complex "$keep;[up]hwupload,$filters[o]" -map "[o]" "$@" -map "[kept]" -f null -
}

# said FILE: what metadata says of the frames, in which order depends on the graph
said() { sed 's/^frame:[0-9]* *//' "$1" | sort; }

# checksums, times, geometry and metadata are those of the graph without a device
same_as_software() { # FORMAT PLANAR FILTER
    src=$(source 33x25 5 6 "$1")
    ff -f lavfi -i "$src" -vf "format=$2,$3,format=$1,metadata=print:file=$tmp/said" -fps_mode passthrough \
        -f framemd5 "$tmp/software" && said "$tmp/said" > "$tmp/said-software" &&
    uploaded "$src" "$3,hwdownload,format=$1,metadata=print:file=$tmp/said" -fps_mode passthrough \
        -f framemd5 "$tmp/hardware" && said "$tmp/said" > "$tmp/said-hardware" || note "$1 $3" || return 1
    same "$1 $3" "$tmp/software" "$tmp/hardware" || return 1
    cmp -s "$tmp/said-software" "$tmp/said-hardware" || note "$1 $3: other metadata"
}

test_hwframes() {
    needs_hw || return
    while read -r format planar; do
        for filter in magvit_interp=factor=2 magvit_inpaint=x=8:y=8:w=8:h=8 magvit_inpaint=x=8:y=8:w=8:h=8:show=mask \
            magvit_outpaint=right=16:top=8 magvit_predict=frames=5; do
            same_as_software "$format" "$planar" "$filter:$opts" || return 1
        done
    done <<END
yuv420p yuv420p
nv12 yuv420p
p010le yuv420p10le
END
    for format in yuv444p yuv422p gray; do
        same_as_software $format $format "magvit_interp=factor=2:$opts" || return 1
    done
    # known samples are those of the source
    ff -f lavfi -i "$(source 33x25 5 6 nv12)" -f framemd5 "$tmp/md5" && sed -n 's/^0,.*, *//p' "$tmp/md5" > "$tmp/in" || return 1
    uploaded "$(source 33x25 5 6 nv12)" "magvit_interp=factor=2:$opts,hwdownload,format=nv12" -f framemd5 "$tmp/md5" &&
        sed -n 's/^0,.*, *//p' "$tmp/md5" > "$tmp/out" || return 1
    every 2 "$tmp/out" > "$tmp/known"
    count "nv12" 12 "$tmp/out" && same "known frames" "$tmp/in" "$tmp/known"
}

# two filters in a row, frames that stay on the device, a second input that is not on it
test_hwframes_chain() {
    needs_hw || return
    same_as_software nv12 yuv420p "magvit_outpaint=right=16:$opts,magvit_interp=factor=2:$opts" &&
    same_as_software yuv420p yuv420p "magvit_inpaint=x=8:y=8:w=8:h=8:$opts,magvit_predict=frames=5:$opts" || return 1
    uploaded "$(source 33x25 5 6 nv12)" "magvit_interp=factor=2:$opts" -f null - || note "null" || return 1
    mask="color=white:size=32x24:rate=5,trim=end_frame=6,drawbox=w=20:h=24:color=black:t=fill,format=gray[m]"
    for graph in "hwupload[v];[v][m]magvit_inpaint=mask_input=1:$opts,hwdownload,format=yuv420p" \
        "format=yuv420p[v];[v][m]magvit_inpaint=mask_input=1:$opts"; do
        hw -f lavfi -i "$(source 32x24 5 6 yuv420p)" -filter_complex "$mask;[0]$keep;[up]$graph[o]" \
            -map "[o]" -f framemd5 "$tmp/md5" -map "[kept]" -f null - || return 1
        sed -n 's/^0,.*, *//p' "$tmp/md5" >> "$tmp/both"
    done
    head -n 6 "$tmp/both" > "$tmp/a"; tail -n +7 "$tmp/both" > "$tmp/b"
    same "mask from a second input" "$tmp/a" "$tmp/b"
}

test_hwframes_errors() {
    needs_hw || return
    device="-init_hw_device vulkan=vk:0 -filter_hw_device vk"
    for format in rgba bgra; do
        for filter in magvit_interp=factor=2 magvit_inpaint=x=8:y=8:w=8:h=8:show=mask; do
            refuses "vulkan frames of $format, expected a planar format.* nv12" $device -f lavfi \
                -i "$(source 32x32 5 3 $format)" -vf "hwupload,$filter:$opts" || return 1
        done
    done
    # other samples in mid-stream: all frames before are out, the last one holds
    graph=
    for format in yuv420p nv12; do
        graph="$graph$(source 32x32 5 5 $format),split[u$format][k$format];[k$format]reverse[k$format];"
        graph="$graph[u$format]hwupload,trim=end=99[$format];"
    done
    graph="$graph[yuv420p][nv12]concat,magvit_interp=factor=2:$opts,hwdownload,format=yuv420p[o]"
    kept="-map [kyuv420p] -f null - -map [knv12] -f null -"
    # shellcheck disable=SC2086
    refuses "Frame 5 holds nv12, expected yuv420p" $device -filter_complex "$graph" $kept -map "[o]" || return 1
    # shellcheck disable=SC2086
    hw -filter_complex "$graph" -map "[o]" -f framemd5 "$tmp/md5" $kept 2> /dev/null
    sed -n 's/^0,.*, *//p' "$tmp/md5" > "$tmp/out"
    count "before other samples" 10 "$tmp/out"
}

# windows that begin together, on any backend, give the frames of one at a time
test_ahead() {
    for filter in magvit_interp=factor=4 magvit_inpaint=x=8:y=8:w=8:h=8 magvit_outpaint=right=16; do
        for ahead in 0 1 3 -1; do
            md5 "$(source 32x24 5 30 yuv420p)" "$filter:steps=1:batch=2:ahead=$ahead:$opts" > "$tmp/ahead$ahead" || return 1
            same "$filter, $ahead ahead" "$tmp/ahead0" "$tmp/ahead$ahead" || return 1
        done
    done
}

# the vulkan backend computes where the frames are, unless another device is named
test_hwframes_device() {
    needs_hw || return
    "$MAGVIT" info --devices > "$tmp/devices" 2> /dev/null || skip "no Vulkan backend" || return
    vk="model=$tiny:backend=vulkan:steps=1"
    for device in "" :device=0; do
        hw -v verbose -f lavfi -i "$(source 32x32 5 2 nv12)" -vf "hwupload,magvit_interp=factor=2:$vk$device" -f null - \
            2> "$tmp/log" || note "device '$device'" || return 1
        sed -n 's/.*Computing on the device of the frames, //p' "$tmp/log" > "$tmp/uuid$device"
    done
    count "frames' device" 1 "$tmp/uuid" || return 1
    grep -qF "$(cat "$tmp/uuid")" "$tmp/devices" || note "$(cat "$tmp/uuid") is no device" || return 1
    [ ! -s "$tmp/uuid:device=0" ] || note "not the device that was named"
}

# the commands of the documentation that need a device
test_hwframes_examples() {
    needs_hw || return
    "$FFMPEG" -hide_banner -filters 2> /dev/null | grep -q scale_vulkan || skip "this ffmpeg has no scale_vulkan" || return
    ff -f lavfi -i "$(source 160x120 24 6 yuv420p)" -c:v mpeg4 "$tmp/in.mp4" || return 1
    grep -o 'ffmpeg -init_hw_device.*' doc/FILTERS.md > "$tmp/commands"
    [ -s "$tmp/commands" ] || note "no command" || return 1
    run_commands
}
