#!/bin/sh
#
# The Python side, run from the build folder after make: its unit tests, golden
# vectors made anew against the C kernels, and a training run in small whose
# model file the tool must load and use.
# Leaves with 77 where there is no Python with PyTorch or no ffmpeg.
# Part of libmagvit, LGPL-2.1-or-later, see LICENSE.
set -eu

build=$(pwd)/build
cd "$(dirname "$0")/../training"
samples=$(cd ../samples && pwd)
PATH=$build/ffmpeg:$PATH
export PYTHONDONTWRITEBYTECODE=1 OMP_WAIT_POLICY=PASSIVE

for python in "${PYTHON:-python3}" python3 /usr/bin/python3 none; do
    "$python" -c 'import torch, numpy' 2> /dev/null && break
done
[ "$python" != none ] && command -v ffmpeg > /dev/null && command -v ffprobe > /dev/null || {
    echo "training: needs PyTorch, numpy and ffmpeg"
    exit 77
}

run=$(mktemp -d)
trap 'rm -rf "$run"' EXIT

"$python" -m unittest discover -s tests -t .

"$python" dump_golden.py --model ../tests/data/tiny.safetensors --out "$run/golden"
"$python" dump_golden.py --model ../tests/data/tiny-known.safetensors --out "$run/golden"
"$build/tests/golden" --vectors="$run/golden"

common="--config configs/tiny.toml --data $samples --val $samples --cache $run/clips --out $run/run --device cpu"
"$python" train_tokenizer.py $common --steps 60 | tee "$run/log"
awk '{ for (i = 1; i < NF; i++) if ($i == "val_psnr") { if (!n++) first = $(i + 1); last = $(i + 1) } }
     END { if (n < 2 || !(last > first)) { print "training: psnr " first " to " last ", expected it to rise"; exit 1 } }' "$run/log"
"$python" train_transformer.py $common --tokenizer "$run/run/tokenizer.pt" --pair-minutes 0.1 --minutes 0.15 |
    tee "$run/log"
awk '/validation .* mean / { if (!n++) first = $NF; last = $NF }
     END { if (n < 2 || !(last < first)) { print "training: cross-entropy " first " to " last ", expected it to fall"; exit 1 } }' "$run/log"
"$python" export.py --config configs/tiny.toml --tokenizer "$run/run/tokenizer.pt" \
    --transformer "$run/run/transformer.pt" --out "$run/plain.safetensors"
sed '/^codebook_size/a known_pixels = "padded"' configs/tiny.toml > "$run/known.toml"
"$python" train_decoder.py $common --config "$run/known.toml" --model "$run/plain.safetensors" --example-minutes 0.05 --steps 40
"$python" export.py --tokenizer "$run/run/decoder.pt" --transformer "$run/plain.safetensors" --out "$run/trained.safetensors"
"$build/magvit" info --model "$run/trained.safetensors" | grep padded
"$build/magvit" info --model "$run/trained.safetensors"
ffmpeg -v error -nostdin -i "$samples/desk.mp4" -frames:v 3 -vf scale=64:48 -f yuv4mpegpipe "$run/in.y4m"
"$build/magvit" run interp --factor 4 --model "$run/trained.safetensors" --quiet "$run/in.y4m" "$run/out.y4m"
frames=$(ffprobe -v error -count_frames -show_entries stream=nb_read_frames -of csv=p=0 "$run/out.y4m")
[ "$frames" = 12 ] || { echo "training: $frames frames of the trained model, expected 12"; exit 1; }

# figures of the filters: the program fails if a known sample was changed
if [ -x "$build/ffmpeg/ffmpeg" ]; then
    "$python" quality.py --ffmpeg "$build/ffmpeg/ffmpeg" --magvit "$build/magvit" --model ../tests/data/tiny.safetensors \
        --clips 1 --frames 16 --tasks interp --out "$run/quality"
    rows=$(grep -c '^| [0-9]*\(nd\|th\) | [0-9*. /]* | .* of 1 |$' "$run/quality/tables.md") || true
    [ "$rows" = 4 ] || { echo "training: $rows rows of figures, expected 4"; exit 1; }
fi
