#!/bin/sh
#
# Correctness and speed of the Vulkan backend on a machine with a GPU that has
# neither network nor compilers: everything it needs is packed beforehand.
# Part of libmagvit, LGPL-2.1-or-later, see LICENSE.
#
# usage: tests/gpu/bench.sh --pack DIR   where libmagvit was built: fill DIR
#        DIR/bench.sh [--seconds N] [MODEL ...]        on the GPU machine
#                                        MODEL: tiny, S, B, L [tiny S B L]
#                                        N: how long all of it may take [560]
# Kernels are compared and timed, with the bus beside them; each model's stages and
# streams of three sizes; tiles in batches, windows in batches; PyTorch on CUDA, if it
# is there. Each part has its share of the time that is left, the cheap rows of a part
# come first, and a row that by what was measured before it would not end in time
# says so ("skipped: expected .. s, limit .. s"): on a slow device that is no failure.
# DEVICE=NAME chooses a device, BACKENDS="vulkan cpu" more backends to time;
# SIZES, BATCHES and WINDOWS are what streams and batches are timed for.
# PRECISION=f32: what backends multiply [auto]. Shaders are packed as SPIR-V:
# with cooperative matrices only if configure said so, hence with a new glslang and
# new headers on the machine that packs.
# What is printed also goes to DIR/result.txt. Leaves with 1 if a kernel is wrong, or a
# part fails or hangs.

if test "$1" = --pack; then
    set -eu
    dir=$2 source=$(dirname "$0")
    mkdir -p "$dir/lib"
    cp build/magvit build/tests/checkkernels "$0" "$dir"
    cp "$source/../data/tiny.safetensors" "$dir"
    for lib in $(ldd build/magvit | awk '$2 == "=>" { print $3 }') $(ldconfig -p | awk '/libvulkan\.so\.1 / { print $NF; exit }'); do
        case ${lib##*/} in
        libc.*|libm.*|libpthread.*|libdl.*) ;;
        *) cp -L "$lib" "$dir/lib" ;;
        esac
    done
    mkdir -p "$dir/python/magvit"
    cp "$source"/../../training/magvit/*.py "$dir/python/magvit"
    cp "$source/torch_cuda.py" "$dir/python"
    for python in "${PYTHON:-python3}" /usr/bin/python3; do
        "$python" -c 'import torch, tomllib' 2> /dev/null && exec "$python" "$source/pack.py" "$dir"
    done
    echo "no Python with torch: only the tiny model is packed" >&2
    exit 0
fi

cd "$(dirname "$0")" || exit 1
LD_LIBRARY_PATH=$PWD/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} XDG_CACHE_HOME=$PWD/cache
export LD_LIBRARY_PATH XDG_CACHE_HOME
mkdir -p cache
seconds=560
if test "$1" = --seconds; then
    seconds=$2
    shift 2
fi
case $seconds in
''|*[!0-9]*) echo "$0: --seconds is \"$seconds\", expected a number" >&2; exit 2 ;;
esac
test $# -gt 0 || set -- tiny S B L

# containers often come with the driver's library, but not with the file that names it
if test -z "$(find /usr/share/vulkan/icd.d /etc/vulkan/icd.d -name '*.json' 2> /dev/null)$VK_ICD_FILENAMES$VK_DRIVER_FILES"; then
    echo '{"file_format_version":"1.0.0","ICD":{"library_path":"libGLX_nvidia.so.0","api_version":"1.3.0"}}' > icd.json
    VK_ICD_FILENAMES=$PWD/icd.json VK_DRIVER_FILES=$PWD/icd.json
    export VK_ICD_FILENAMES VK_DRIVER_FILES
fi

# model NAME: make the file if it is not there
model() {
    test -f "$1.safetensors" && return
    test -f "$1.head" || return
    size=$(cat "$1.size") n=0
    { cat "$1.head"; while test $((n * 1048576)) -lt "$size"; do cat block; n=$((n + 1)); done | head -c "$size"; } > "$1.safetensors"
}

run() {
    echo "== $*"
    "$@" 2>&1
}

left() {
    echo $((begin + seconds - $(date +%s)))
}

# share WEIGHT: set limit to this part's seconds of those that are left; $weight is that of all parts to come
share() {
    limit=$(($(left) * $1 / weight)) weight=$((weight - $1))
    test $limit -ge 1
}

# guarded COMMAND ...: it keeps to its limit by itself, more or less; what takes far longer hangs
guarded() {
    run timeout $((2 * limit + 30)) "$@" || failed=1
}

# bench WEIGHT BACKEND MODEL ...
bench() {
    share "$1" || { shift; echo "== bench $*"; echo "skipped: no time is left"; return; }
    backend=$2 name=$3 rate=
    shift 3
    test "$backend" != vulkan || rate=$gflops
    guarded ./magvit bench --precision "${PRECISION:-auto}" ${DEVICE:+--device "$DEVICE"} --seconds $limit \
        ${rate:+--gflops "$rate"} --backend "$backend" --model "$name.safetensors" "$@"
}

# sum of the weights of all parts that follow the comparison of kernels: about the seconds that they take on a GPU
weigh() {
    weight=120 backends=$(echo ${BACKENDS:-vulkan} | wc -w)
    for name; do
        weight=$((weight + 45 * backends))
    done
    ! wants S "$@" || weight=$((weight + 15 * $(echo ${BATCHES-1 2 4 8} | wc -w)))
    weight=$((weight + 12 * $(echo ${WINDOWS-1 2 4 8 16} | wc -w)))
    test "$*" = tiny || weight=$((weight + 90))
}

# wants MODEL ALL...
wants() {
    wanted=$1; shift
    case " $* " in
    *" $wanted "*) test -f "$wanted.head" || test -f "$wanted.safetensors" ;;
    *) false ;;
    esac
}

compare_with_torch() {
    for python in "${PYTHON:-python3}" /usr/bin/python3; do
        "$python" -c 'import torch' 2> /dev/null || continue
        limit=$(left)
        if test "$limit" -lt 10; then
            echo "== PyTorch"
            echo "skipped: expected 10 s, limit $limit s"
            return
        fi
        run timeout $((limit + 30)) "$python" python/torch_cuda.py --seconds $((limit - limit / 8))
        return
    done
    echo "== PyTorch"
    echo "skipped: no Python with torch"
}

all() {
    failed=0 gflops=
    date
    nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2> /dev/null
    run ./magvit info --devices
    # what is right comes before what is fast
    run timeout $((seconds > 150 ? seconds * 4 / 5 : 120)) ./checkkernels --backend=vulkan || failed=1
    weigh "$@"
    if test "$*" != tiny && share 90; then
        guarded ./checkkernels --backend=vulkan --bench --seconds=$limit > kernels.txt
        cat kernels.txt
        # most of what a product reached
        gflops=$(awk '{ for (i = 2; i <= NF; i++) if ($i == "GFLOP/s" && $(i - 1) + 0 > most) most = $(i - 1) + 0 }
            END { if (most > 0) print most }' kernels.txt)
    fi
    for name; do
        model "$name" || { echo "no model $name"; continue; }
        for backend in ${BACKENDS:-vulkan}; do
            bench 45 "$backend" "$name" ${SIZES-128x128 854x480 1280x720}
        done
    done
    # all tiles of a larger frame, so many at a time
    ! wants S "$@" || for batch in ${BATCHES-1 2 4 8}; do
        bench 15 vulkan S --batch "$batch" --scale tile 854x480
    done
    # windows of one tile, so many at a time, and as many in the queue
    for batch in ${WINDOWS-1 2 4 8 16}; do
        if wants S "$@"; then
            bench 12 vulkan S --batch "$batch" --ahead $((2 * batch - 1)) 128x128
        else
            bench 12 vulkan tiny --batch "$batch" --ahead $((2 * batch - 1)) 32x32
        fi
    done
    compare_with_torch
    echo "failed: $failed"
    echo "seconds: $(($(date +%s) - begin))"
}
begin=$(date +%s)
all "$@" | tee result.txt
grep -q '^failed: 0$' result.txt
