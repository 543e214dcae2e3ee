#!/bin/sh
#
# Build ffmpeg and ffprobe with the MAGVIT filters from the distribution's own
# FFmpeg source package, into build/ffmpeg of the current folder, where
# ./configure and make have been run. Only what is out of date is rebuilt.
# Part of libmagvit, LGPL-2.1-or-later, see LICENSE.
#
# usage: tools/build-ffmpeg.sh [--with-ffmpeg-src=DIR] [--configure-only]
#        DIR: an FFmpeg source tree, 5.1 to 9.0; it is copied, not changed
#        MAGVIT_CFLAGS: more compiler flags for the filters
#        --configure-only: stop before compiling, which is all that build-preload.sh needs
#
# The machine's apt configuration is read, never changed: source indexes go to
# a private folder. The build is small (no network, no GPL parts, no external
# libraries but zlib and libmagvit); take patches/apply.sh for a full one.
set -eu

die() { echo "build-ffmpeg.sh: $*" >&2; exit 1; }

root=$(cd "$(dirname "$0")/.." && pwd -P)
build=$(pwd -P)/build
sources=$build/ffmpeg-src
given=
configure_only=
for arg; do
    case $arg in
    --configure-only) configure_only=1 ;;
    --with-ffmpeg-src=*) given=${arg#*=} ;;
    *) sed -n '/^# usage/,/^#$/s/^# //p' "$0"; die "unknown option $arg" ;;
    esac
done
[ -f "$build/libmagvit.a" ] && [ -f "$build/pkgconfig/libmagvit.pc" ] ||
    die "no build/libmagvit.a here: run ./configure && make first"

# ---------------------------------------------------------------- source

# apt with this machine's own mirrors, as sources of source packages, and with
# indexes of its own
private_apt() {
    program=$1; shift
    "$program" -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts="$apt/parts" \
        -o Dir::State::lists="$apt/lists" -o Dir::Cache="$apt/cache" -o APT::Sandbox::User=root \
        -o Acquire::Languages=none -o APT::Get::List-Cleanup=false "$@"
}

download() {
    command -v apt-get > /dev/null || die "no apt-get here: give a source tree with --with-ffmpeg-src=DIR"
    apt=$sources/apt
    rm -rf "$apt"
    mkdir -p "$apt/parts" "$apt/lists/partial" "$apt/cache/archives/partial"
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2> /dev/null |
        sed -n 's/^deb[[:blank:]]/deb-src /p' > "$apt/sources.list"
    for file in /etc/apt/sources.list.d/*.sources; do
        [ ! -f "$file" ] || sed 's/^Types:.*/Types: deb-src/' "$file" > "$apt/parts/${file##*/}"
    done
    # a third-party repository without sources fails alone: what counts is what is found
    private_apt apt-get update > "$apt/log" 2>&1 || true
    versions=$(private_apt apt-cache showsrc ffmpeg 2>> "$apt/log" | sed -n 's/^Version: //p' | sort -rVu)
    for version in $versions; do
        echo "FFmpeg $version from the distribution"
        (cd "$sources" && private_apt apt-get source --download-only --tar-only "ffmpeg=$version") \
            >> "$apt/log" 2>&1 && return 0
    done
    tail -n 5 "$apt/log" >&2
    die "cannot get the source package of ffmpeg: give a source tree with --with-ffmpeg-src=DIR"
}

mkdir -p "$sources" "$build/ffmpeg"
# a tree that holds other patches than today's cannot be patched again
patches=$(cat "$root"/patches/*.patch "$root"/patches/*.texi "$root/patches/apply.sh" | cksum)
for tree in "$sources/given" "$sources/distribution"; do
    [ "$(cat "$tree/patches.cksum" 2> /dev/null)" = "$patches" ] || rm -rf "$tree"
done
if [ -n "$given" ]; then
    [ -f "$given/libavfilter/allfilters.c" ] || die "$given is not an FFmpeg source tree"
    tree=$sources/given
    if [ ! -d "$tree" ] || [ "$(cat "$sources/given.path" 2> /dev/null)" != "$given" ]; then
        rm -rf "$tree"
        cp -r "$given" "$tree"
        echo "$given" > "$sources/given.path"
    fi
else
    tree=$sources/distribution
    if [ ! -f "$tree/configure" ]; then
        ls "$sources"/ffmpeg_*.orig.tar.* > /dev/null 2>&1 || download
        rm -rf "$tree" "$tree.new"
        mkdir "$tree.new"
        tar -C "$tree.new" --strip-components=1 -xf "$(ls "$sources"/ffmpeg_*.orig.tar.?z* | grep -v '\.asc$' | tail -n 1)"
        mv "$tree.new" "$tree"
    fi
fi
"$root/patches/apply.sh" "$tree"
echo "$patches" > "$tree/patches.cksum"

# ---------------------------------------------------------------- configure

cc=${CC:-cc}
command -v ccache > /dev/null && cc="ccache $cc"
asm=
command -v nasm > /dev/null || command -v yasm > /dev/null || asm=--disable-x86asm

cd "$build/ffmpeg"
set -- --cc="$cc" $asm --disable-everything --disable-autodetect --disable-doc --disable-debug \
    --disable-network --disable-ffplay --enable-zlib --enable-version3 \
    --enable-libmagvit --pkg-config-flags=--static \
    --enable-filter=magvit_inpaint,magvit_interp,magvit_outpaint,magvit_predict,magvit_src \
    --enable-protocol=file,pipe,fd --enable-indev=lavfi \
    --enable-decoder=h264,hevc,mpeg1video,mpeg2video,mpeg4,vp8,vp9,mjpeg,png,ffv1,ffvhuff,huffyuv \
    --enable-decoder=prores,dnxhd,utvideo,bmp,ppm,pgm,pam,rawvideo,wrapped_avframe \
    --enable-decoder=aac,ac3,mp2,mp3,opus,vorbis,flac,pcm_s16le,pcm_s24le,pcm_f32le \
    --enable-encoder=mpeg4,ffv1,png,ppm,pgm,rawvideo,mjpeg,wrapped_avframe,aac,flac,pcm_s16le \
    --enable-parser=h264,hevc,mpeg4video,mpegvideo,vp8,vp9,mjpeg,png,pnm,aac,ac3,mpegaudio,opus,vorbis,flac \
    --enable-demuxer=mov,matroska,avi,image2,image2pipe,image_png_pipe,image_jpeg_pipe,image_pgm_pipe,yuv4mpegpipe \
    --enable-demuxer=rawvideo,mpegts,mpegps,h264,hevc,m4v,ivf,flac,wav,mp3,aac,concat \
    --enable-muxer=mov,mp4,matroska,avi,image2,image2pipe,rawvideo,yuv4mpegpipe \
    --enable-muxer=framecrc,framemd5,md5,hash,streamhash,null,wav \
    --enable-bsf=extract_extradata,h264_mp4toannexb,hevc_mp4toannexb,vp9_superframe,vp9_superframe_split \
    --enable-bsf=aac_adtstoasc,mpeg4_unpack_bframes \
    --enable-filter=scale,format,fps,framerate,framestep,minterpolate,blend,tblend,tile,hstack,vstack,xstack \
    --enable-filter=drawbox,drawgrid,pad,crop,select,aselect,setpts,asetpts,trim,atrim,split,asplit,null,anull \
    --enable-filter=nullsrc,anullsrc,testsrc,testsrc2,color,smptebars,rgbtestsrc,yuvtestsrc,mandelbrot,life \
    --enable-filter=gradients,sine,psnr,ssim,identity,overlay,fillborders,removelogo,concat,metadata,setsar \
    --enable-filter=setdar,setparams,settb,lut,lutyuv,lutrgb,noise,scdet,gblur,loop,tpad,extractplanes \
    --enable-filter=alphaextract,alphamerge,mergeplanes,shuffleplanes,interlace,setfield,fieldmatch,decimate \
    --enable-filter=showinfo,signalstats,aformat,aresample,volume,copy,transpose,hflip,vflip,rotate,perms \
    --enable-filter=sendcmd,sidedata,interleave,shuffleframes,reverse,zoompan,swapuv,premultiply,colorspace,maskedmerge
export PKG_CONFIG_PATH="$build/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}"

asked="$tree $* $(cat "$build/pkgconfig/libmagvit.pc")"
if [ "$asked" != "$(cat asked 2> /dev/null)" ]; then
    echo "configuring FFmpeg $(cat "$tree/RELEASE" 2> /dev/null)"
    rm -f asked
    "$tree/configure" "$@" > configure.log 2>&1 || {
        tail -n 15 configure.log >&2
        die "FFmpeg's configure failed, see build/ffmpeg/configure.log and ffbuild/config.log there"
    }
    printf '%s\n' "$asked" > asked
fi

[ -z "$configure_only" ] || exit 0

# ---------------------------------------------------------------- build

# FFmpeg's makefile does not know that the programs are made of libmagvit.a, too
for program in ffmpeg ffprobe; do
    [ ! -f $program ] || [ $program -nt "$build/libmagvit.a" ] || rm -f $program ${program}_g
done
export MAGVIT_CFLAGS="${MAGVIT_CFLAGS:-}"
if ! make -q ffmpeg ffprobe > /dev/null 2>&1; then
    echo "building FFmpeg (a few minutes the first time)"
    make -j"${JOBS:-$(nproc 2> /dev/null || echo 2)}" ffmpeg ffprobe > make.log 2>&1 || {
        grep -n -i -B 2 -A 5 'error' make.log | tail -n 30 >&2
        die "building FFmpeg failed, see build/ffmpeg/make.log"
    }
fi
echo "build/ffmpeg/ffmpeg: $(./ffmpeg -hide_banner -filters 2> /dev/null | grep -c ' magvit_') MAGVIT filters"
