#!/bin/sh
#
# Correctness and speed of the Vulkan backend on a machine with a GPU that has
# neither network nor compilers: everything it needs is packed beforehand.
# Part of libmagvit, LGPL-2.1-or-later, see LICENSE.
#
# usage: tests/gpu/bench.sh --pack DIR   where libmagvit was built: fill DIR
#        DIR/bench.sh [MODEL ...]        on the GPU machine, under ten minutes
#                                        MODEL: tiny, S, B, L [tiny S B L]
# Kernels are compared and timed, with the bus beside them; each model's stages and
# streams of three sizes; tiles in batches, windows in batches; PyTorch on CUDA, if it
# is there.
# DEVICE=NAME chooses a device, BACKENDS="vulkan cpu" more backends to time;
# SIZES, BATCHES and WINDOWS are what streams and batches are timed for; PATIENCE=N
# multiplies the time limits, which come to ten minutes.
# PRECISION=f32: what backends multiply [auto]. Shaders are packed as SPIR-V:
# with cooperative matrices only if configure said so, hence with a new glslang and
# new headers on the machine that packs.
# What is printed also goes to DIR/result.txt. Leaves with 1 if a kernel is wrong.

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
PATIENCE=${PATIENCE:-1}
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

bench() {
    limit=$1; shift
    run timeout $((limit * PATIENCE)) ./magvit bench --precision "${PRECISION:-auto}" ${DEVICE:+--device "$DEVICE"} "$@" || failed=1
}

all() {
    failed=0
    date
    nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2> /dev/null
    run ./magvit info --devices
    run timeout $((120 * PATIENCE)) ./checkkernels --backend=vulkan || failed=1
    for name; do
        model "$name" || { echo "no model $name"; continue; }
        for backend in ${BACKENDS:-vulkan}; do
            bench 45 --backend "$backend" --model "$name.safetensors" ${SIZES-128x128 854x480 1280x720}
        done
    done
    # all tiles of a larger frame, so many at a time
    test ! -f S.safetensors || for batch in ${BATCHES-1 2 4 8}; do
        bench 15 --backend vulkan --model S.safetensors --batch "$batch" --scale tile 854x480
    done
    # windows of one tile, so many at a time, and as many in the queue
    for batch in ${WINDOWS-1 2 4 8 16}; do
        size=128x128 name=S
        test -f S.safetensors || size=32x32 name=tiny
        bench 12 --backend vulkan --model "$name.safetensors" --batch "$batch" --ahead $((2 * batch - 1)) "$size"
    done
    case " $* " in
    " tiny ") ;;
    *) run timeout $((90 * PATIENCE)) ./checkkernels --backend=vulkan --bench ;;
    esac
    for python in "${PYTHON:-python3}" /usr/bin/python3; do
        "$python" -c 'import torch' 2> /dev/null || continue
        run timeout $((90 * PATIENCE)) "$python" python/torch_cuda.py --seconds $((80 * PATIENCE))
        break
    done
    echo "failed: $failed"
    echo "seconds: $(($(date +%s) - begin))"
}
begin=$(date +%s)
all "$@" | tee result.txt
grep -q '^failed: 0$' result.txt
