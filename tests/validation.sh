#!/bin/sh
#
# Kernel and golden tests of the Vulkan backend, and a few windows with all of
# the decoding loop, its transfers as in queues of their own, too, under the
# Khronos validation layer, which must be silent.
# Leaves with 77, skipped, where the layer or the backend is missing.
# Part of libmagvit, LGPL-2.1-or-later, see LICENSE.
#
# usage: tests/validation.sh   in the folder of the build

found=
for dir in /usr/share /usr/local/share /etc "$HOME/.local/share"; do
    test -f "$dir/vulkan/explicit_layer.d/VkLayer_khronos_validation.json" && found=yes
done
if test -z "$found"; then
    echo "no validation layer (Debian package vulkan-validationlayers)"
    exit 77
fi
if ! build/magvit info --devices > /dev/null 2>&1; then
    echo "no Vulkan backend, or no driver (Debian package mesa-vulkan-drivers)"
    exit 77
fi

log=build/validation.log
VK_INSTANCE_LAYERS=VK_LAYER_KHRONOS_validation
export VK_INSTANCE_LAYERS
# convolutions are the golden models' part: they take half the time of the kernel tests
{
    build/magvit run generate build/validation.y4m --backend vulkan --model "$(dirname "$0")/data/tiny.safetensors" \
        --batch 2 --frames 18 --class 0 --steps 3 --guidance 2 --top-p 0.9 &&
    build/magvit run interp build/validation.y4m build/validation-out.y4m --backend vulkan --ahead 3 \
        --model "$(dirname "$0")/data/tiny.safetensors" --batch 2 --factor 4 --steps 2 &&
    build/tests/unit vk_transfers &&
    build/tests/checkkernels --backend=vulkan --op='[!c]*' && build/tests/golden --backend=vulkan model
} > $log 2>&1
status=$?
rm -f build/validation.y4m build/validation-out.y4m
if grep -n 'VUID-\|Validation ' $log; then status=1; fi
tail -n 1 $log
exit $status
