#!/bin/sh
#
# Build build/preload/libmagvit-preload.so, by which the distribution's own
# ffmpeg knows the MAGVIT filters, and build/magvit-ffmpeg, which runs ffmpeg
# with it. ./configure and make have been run; tools/build-ffmpeg.sh fetches and
# configures the source. Only what is out of date is rebuilt.
# Part of libmagvit, LGPL-2.1-or-later, see LICENSE.
#
# usage: tools/build-preload.sh
#
# STOCK_FFMPEG  the program to be served [the ffmpeg in PATH that is not ours]
set -eu

die() { echo "build-preload.sh: $*" >&2; exit 1; }

[ $# = 0 ] || { sed -n '/^# usage/,/^#$/s/^# //p' "$0"; die "unknown option $1"; }
root=$(cd "$(dirname "$0")/.." && pwd -P)
build=$(pwd -P)/build
out=$build/preload
[ -f "$build/libmagvit.a" ] || die "no build/libmagvit.a here: run ./configure && make first"

# ---------------------------------------------------------------- the program

ffmpeg=${STOCK_FFMPEG:-}
for folder in $(echo "$PATH" | tr ' :' '? '); do
    [ -z "$ffmpeg" ] && [ -x "$folder/ffmpeg" ] && [ "$(readlink -f "$folder/ffmpeg")" != "$build/ffmpeg/ffmpeg" ] &&
        ffmpeg=$folder/ffmpeg
done
[ -n "$ffmpeg" ] || die "no ffmpeg in PATH: install the distribution's, or name one as STOCK_FFMPEG"
library=$(ldd "$ffmpeg" 2> /dev/null | sed -n 's/.*libavfilter\.so[.0-9]* => \([^ ]*\) .*/\1/p')
[ -n "$library" ] || die "$ffmpeg has no shared libavfilter: a static program cannot be served"
release=$(tr -c '[:print:]' '\n' < "$library" | sed -n 's/^FFmpeg version //p' | head -n 1)

# the private structs are those of the source tree: it must be of the same release, whatever the packager's revision
tree=$build/ffmpeg-src/distribution
[ -f "$tree/RELEASE" ] && [ -f "$build/ffmpeg/config.h" ] || "$root/tools/build-ffmpeg.sh" --configure-only
[ -f "$tree/RELEASE" ] || die "$tree is missing: run tools/build-ffmpeg.sh without a tree of your own"
source=$(cat "$tree/RELEASE")
case $release in
"$source"|"$source"[!0-9.]*) ;;
*) die "$library is FFmpeg $release, but the source tree is $source: remove build/ffmpeg-src and try again" ;;
esac
case $source in
5.1|5.1.*) more="avfilter_graph_parse; avfilter_graph_parse2; avfilter_graph_parse_ptr; avfilter_pad_count;" ;;
7.1|7.1.*) more="avfilter_graph_parse*; avfilter_graph_segment_*;" ;;
*) die "FFmpeg $source is not supported, only 5.1 and 7.1 are: build a patched one" ;;
esac

# ---------------------------------------------------------------- compile

mkdir -p "$out"
cc=${CC:-cc}
flags="-std=c11 -O2 -fPIC -pthread -D_ISOC99_SOURCE -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64
       -DHAVE_AV_CONFIG_H -DBUILDING_avfilter -Wno-deprecated-declarations -Wno-pointer-sign"
# what the filters call of libavfilter's private functions, and what these call
private="audio avfilter avfiltergraph buffersink formats framepool framequeue graphparser pthread video"
filters="magvit_filter magvit_hwframe magvit_mask vf_magvit_inpaint vf_magvit_interp vf_magvit_outpaint vf_magvit_predict vsrc_magvit_src"

objects=
compile() { # FILE NAME FLAG...
    file=$1 object=$out/$2.o; shift 2
    objects="$objects $object"
    if [ -f "$object" ] && [ -z "$(find -L "$file" "$root/libavfilter-magvit" "$root/libmagvit/magvit.h" -newer "$object" -name '*.[ch]')" ]; then
        return
    fi
    echo "CC      ${object#"$build"/}"
    # shellcheck disable=SC2086
    $cc $flags "$@" -I"$build/ffmpeg" -I"$tree" -I"$root/libmagvit" -c -o "$object" "$file"
}

if [ "$release $flags" != "$(cat "$out/made-for" 2> /dev/null)" ]; then
    rm -f "$out"/*.o
    echo "$release $flags" > "$out/made-for"
fi
for name in $private; do
    compile "$tree/libavfilter/$name.c" "$name"
done
for name in $filters; do
    compile "$root/libavfilter-magvit/$name.c" "$name"
done
compile "$root/libavfilter-magvit/preload/preload.c" preload -DFFMPEG_RELEASE="\"$release\"" -I"$root/libavfilter-magvit"

# What programs call of it is listed; the rest of the copies is for the filters alone. In 5.1 avfilter_pad_count() looks
# for the filter that pads are of. Functions that are not here are the program's, so nothing is bound before the release
# was checked.
cat > "$out/names" <<END
{ global: avfilter_get_by_name; av_filter_iterate; $more local: *; };
END
libs=$(sed -n 's/^Libs: *//p' "$build/pkgconfig/libmagvit.pc" | sed "s|\${libdir}|$build|")
# shellcheck disable=SC2086
$cc -shared -pthread -Wl,-z,lazy -Wl,-Bsymbolic -Wl,--version-script="$out/names" -Wl,-soname,libmagvit-preload.so \
    -o "$out/libmagvit-preload.so" $objects $libs -ldl

# libavfilter does not export its private functions: a missing one would be noticed in the middle of a run only
missing=$(nm -D --undefined-only "$out/libmagvit-preload.so" | sed -n 's/.* \(ff_[a-z0-9_]*\)$/\1/p')
[ -z "$missing" ] || die "FFmpeg $source has changed: $(echo $missing) would be missing"

# ---------------------------------------------------------------- the wrapper

sed -e "s|@preload@|$out/libmagvit-preload.so|" -e "s|@ffmpeg@|$ffmpeg|" "$root/tools/magvit-ffmpeg.in" > "$build/magvit-ffmpeg"
chmod +x "$build/magvit-ffmpeg"
ln -sf ../magvit-ffmpeg "$out/ffmpeg"
ln -sf ../magvit-ffmpeg "$out/ffprobe"
echo "build/magvit-ffmpeg: $ffmpeg, FFmpeg $release, $("$build/magvit-ffmpeg" -hide_banner -filters 2> /dev/null | grep -c ' magvit_') MAGVIT filters"
