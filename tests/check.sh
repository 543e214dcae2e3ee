#!/bin/sh
#
# All tests, from a fresh clone on: packages, library, patched ffmpeg, then
# make check. The last line is "N passed, N failed"; 0 is left with if none did.
# Part of libmagvit, LGPL-2.1-or-later, see LICENSE.
#
# usage: tests/check.sh [--with-ffmpeg-src=DIR]
cd "$(dirname "$0")/.." || exit 1

log=build/check.log
# g++ tries the header in C++; a Vulkan driver that needs no GPU, and what watches how it is used; the others try the
# training code: without this BLAS, PyTorch's products take a hundred times longer
MORE_PACKAGES="g++ mesa-vulkan-drivers vulkan-validationlayers python3-torch python3-numpy python3-msgpack libopenblas0-pthread"
# where the distribution's ffmpeg is, these cost 6 MB and ten seconds more
! command -v apt-get > /dev/null || ! dpkg-query -W ffmpeg > /dev/null 2>&1 || MORE_PACKAGES="$MORE_PACKAGES mpv melt"
export MORE_PACKAGES
if ! tools/setup.sh "$@"; then
    echo "0 passed, 1 failed"
    exit 1
fi
# where the distribution's ffmpeg is of the release that was built, all filter tests run on it, too
make -s preload > build/preload.log 2>&1 || tail -n 1 build/preload.log
{ make check 2>&1; echo "status $?"; } | tee $log | grep -v '^status '
tests=$(grep -c '^ok ' $log)
skipped=$(grep -c '^ok .* # SKIP ' $log)
echo "($tests filter tests among them, $skipped skipped; the log is $log)"
# the sum of make check, repeated so that it is last
grep '^[0-9]* passed, [0-9]* failed$' $log | tail -n 1
grep -q '^status 0$' $log
