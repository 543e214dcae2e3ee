# Makefile for libmagvit: flat, not recursive. Run ./configure first.
# Everything that is made lies in build/ of the folder make is called in.
#
# This file is part of libmagvit, LGPL-2.1-or-later, see LICENSE.

ifeq ($(wildcard config.mak),)
$(error libmagvit is not configured: run ./configure first)
endif
include config.mak

# ---------------------------------------------------------------- sources

# files of the source tree that match patterns, relative to its root
in_tree = $(patsubst $(SRC_PATH)/%,%,$(sort $(wildcard $(addprefix $(SRC_PATH)/,$(1)))))
objs    = $(patsubst %.c,build/obj/%.o,$(1))

# one noun a file, so the folders are the lists; what depends on a library is listed with it
LIB_SRCS = $(call in_tree,libmagvit/*.c) $(addprefix kernels/,host.c fuse.c rows.c ref.c helpers.c worker.c)

ifeq ($(CONFIG_ONEDNN),yes)
LIB_SRCS += $(call in_tree,kernels/amx*.c kernels/cpu*.c kernels/dnnl*.c)
endif

ifeq ($(CONFIG_VULKAN),yes)
LIB_SRCS += $(call in_tree,kernels/vk*.c)
SHADERS  := $(call in_tree,shaders/*.comp.glsl)
endif

TOOL_SRCS         = $(call in_tree,tools/*.c)
UNIT_SRCS         = $(call in_tree,tests/unit/*.c)
CHECKKERNELS_SRCS = $(call in_tree,tests/checkkernels/*.c)
GOLDEN_SRCS       = $(call in_tree,tests/golden/*.c)
AGREEMENT_SRCS    = $(call in_tree,tests/agreement/*.c)

HEADERS := $(call in_tree,libmagvit/*.h kernels/*.h tools/*.h tests/*/*.h)
ifneq ($(CONFIG_ONEDNN),yes)
HEADERS := $(filter-out kernels/dnnl%.h,$(HEADERS))
endif
ifneq ($(CONFIG_VULKAN),yes)
HEADERS := $(filter-out kernels/vk%.h,$(HEADERS))
endif

MODELS = $(wildcard $(SRC_PATH)/models/*.safetensors)

# ---------------------------------------------------------------- names and flags

# A shader is compiled for float, and again with products of float16; those by cooperative matrices are of float16 only.
COOPMAT_SHADERS := $(filter %_coopmat.comp.glsl,$(SHADERS))
PLAIN_SHADERS   := $(filter-out $(COOPMAT_SHADERS),$(SHADERS))
ifneq ($(CONFIG_COOPMAT),yes)
COOPMAT_SHADERS :=
endif
SPIRV = $(PLAIN_SHADERS:%.glsl=%.spv) $(PLAIN_SHADERS:%.glsl=%.half.spv) $(COOPMAT_SHADERS:%.glsl=%.half.spv)

LIB_OBJS  = $(call objs,$(LIB_SRCS)) $(SPIRV:%=build/obj/%.o)
TEST_OBJS = $(call objs,$(UNIT_SRCS) $(CHECKKERNELS_SRCS) $(GOLDEN_SRCS) $(AGREEMENT_SRCS))
ALL_OBJS  = $(LIB_OBJS) $(TEST_OBJS) $(call objs,$(TOOL_SRCS))

STATIC_LIB  = build/libmagvit.a
# apart from the archive, so that -Lbuild -lmagvit links statically
SHARED_LIB  = build/shared/libmagvit.so.$(VERSION)
TEST_PROGS  = build/tests/unit build/tests/checkkernels build/tests/golden build/tests/agreement
HEADER_OKS  = $(HEADERS:%=build/obj/%.ok) build/obj/c99.ok build/obj/cxx.ok

CXX     ?= c++
INSTALL ?= install
COMPILE  = $(CC) -I. -I$(SRC_PATH) $(CPPFLAGS) $(CFLAGS) $(OMP_CFLAGS) $(EXTRA_CFLAGS)
LINK     = $(CC) $(CFLAGS) $(LDFLAGS)

ifeq ($(V),1)
say =
else
say = @printf '%-8s%s\n' $(1) $@
.SILENT:
endif
MAKEFLAGS += --no-print-directory

vpath %.c    $(SRC_PATH)
vpath %.h    $(SRC_PATH)
vpath %.glsl $(SRC_PATH)

# ---------------------------------------------------------------- what is built

all: lib
ifeq ($(CONFIG_TOOLS),yes)
all: build/magvit
endif
lib: $(STATIC_LIB)
ifeq ($(CONFIG_SHARED),yes)
lib: $(SHARED_LIB)
endif
tests: $(if $(filter yes,$(CONFIG_TESTS)),$(TEST_PROGS))

config.mak: $(SRC_PATH)/configure $(SRC_PATH)/libmagvit/magvit.h
	echo "configure or the version changed, configuring again"
	$(CONFIGURE)
	touch $@

$(STATIC_LIB): $(LIB_OBJS)
	$(call say,AR)
	rm -f $@
	$(AR) rcs $@ $^

$(SHARED_LIB): $(LIB_OBJS) $(SRC_PATH)/libmagvit/magvit.ver
	$(call say,LINK)
	mkdir -p $(@D)
	$(LINK) -shared $(SOFLAGS) -Wl,-soname,libmagvit.so.$(SOVERSION) -o $@ $(LIB_OBJS) $(LIBS)
	ln -sf $(@F) build/shared/libmagvit.so.$(SOVERSION)
	ln -sf $(@F) build/shared/libmagvit.so

build/magvit:             $(call objs,$(TOOL_SRCS))         $(STATIC_LIB)
build/tests/unit:         $(call objs,$(UNIT_SRCS))         $(STATIC_LIB)
build/tests/checkkernels: $(call objs,$(CHECKKERNELS_SRCS)) $(STATIC_LIB)
build/tests/golden:       $(call objs,$(GOLDEN_SRCS))       $(STATIC_LIB)
build/tests/agreement:    $(call objs,$(AGREEMENT_SRCS) tools/y4m.c) $(STATIC_LIB)
build/tests/unit: EXTRA_LIBS = -lcunit

build/magvit $(TEST_PROGS):
	$(call say,LINK)
	mkdir -p $(@D)
	$(LINK) -o $@ $^ $(EXTRA_LIBS) $(LIBS)

ifneq ($(filter -O2,$(CFLAGS)),)
build/obj/kernels/ref.o build/obj/kernels/cpu_%.o: EXTRA_CFLAGS = -O3 -fopenmp-simd
build/obj/libmagvit/motion.o build/obj/libmagvit/blend_time.o: EXTRA_CFLAGS = -O3 -fopenmp-simd -fno-math-errno
build/obj/kernels/cpu_%.o: EXTRA_CFLAGS += -fno-trapping-math -ffp-contract=fast
build/obj/libmagvit/draw.o: EXTRA_CFLAGS = -O3 -fopenmp-simd -fno-trapping-math
endif

build/obj/%.o: %.c config.mak
	$(call say,CC)
	mkdir -p $(@D)
	$(COMPILE) -MMD -MP -c -o $@ $<

# shaders: x.comp.glsl -> x.comp.spv -> x.comp.spv.c, which defines mgv_x_comp_spv_data and _len; the same for x.comp.half.spv
SHADER_PARTS := $(filter-out %.comp.glsl,$(call in_tree,shaders/*.glsl))
COMPILE_SHADER = $(GLSLC) -I$(SRC_PATH)/shaders -S comp -o $@ $< -DHALF=$(1) && $(or $(SPIRV_VAL),true) $@

build/obj/%.spv: %.glsl $(SHADER_PARTS) config.mak
	$(call say,GLSL)
	mkdir -p $(@D)
	$(call COMPILE_SHADER,0)

build/obj/%.half.spv: %.glsl $(SHADER_PARTS) config.mak
	$(call say,GLSL)
	mkdir -p $(@D)
	$(call COMPILE_SHADER,1)

build/obj/%.spv.c: build/obj/%.spv
	$(call say,EMBED)
	n=mgv_$(subst .,_,$(*F))_spv; { \
	echo "extern const unsigned char $${n}_data[];"; echo "extern const unsigned $${n}_len;"; \
	echo "_Alignas(4) const unsigned char $${n}_data[] = {"; \
	od -v -An -tx1 $< | sed 's/ \([0-9a-f][0-9a-f]\)/0x\1,/g'; \
	echo "};"; echo "const unsigned $${n}_len = sizeof($${n}_data);"; } > $@

build/obj/%.spv.o: build/obj/%.spv.c
	$(call say,CC)
	$(COMPILE) -c -o $@ $<

-include $(ALL_OBJS:.o=.d) $(HEADER_OKS:.ok=.d)

# ---------------------------------------------------------------- checks

# every header compiles alone, and may be included twice
checkheaders: $(HEADER_OKS)

HEADER_CHECK = mkdir -p $(@D); printf '\#include "%s"\n\#include "%s"\n' $(1) $(1) | \
               $(2) -I. -I$(SRC_PATH) -Wall -Wextra -Werror -MMD -MP -MT $@ -MF $(@:.ok=.d) -fsyntax-only - && touch $@

build/obj/%.h.ok: %.h config.mak
	$(call say,HEADER)
	$(call HEADER_CHECK,$*.h,$(CC) $(CPPFLAGS) $(filter-out --coverage,$(CFLAGS)) -Wno-unused-function -x c)

build/obj/c99.ok: libmagvit/magvit.h config.mak
	$(call say,HEADER)
	$(call HEADER_CHECK,libmagvit/magvit.h,$(CC) -std=c99 -pedantic -x c)

build/obj/cxx.ok: libmagvit/magvit.h config.mak
	$(call say,HEADER)
	$(call HEADER_CHECK,libmagvit/magvit.h,$(CXX) -std=c++11 -pedantic -x c++)

# the shared library exports magvit_ names and nothing else
checksymbols: $(SHARED_LIB)
	! nm -D --defined-only $< | awk '$$2 != "A" { print $$NF }' | grep -v '^magvit_'

lint:
	cd $(SRC_PATH) && sh tests/lint.sh

# Programs leave with 0, 77 for "skipped", or anything else for "failed". What
# runs on oneDNN runs again with the OpenMP settings that once broke its
# matrix products in silence.
# Vulkan has no part in that: it finds no driver there. Pipelines are cached in
# the build, not in the user's home.
TEST_ENV = env XDG_CACHE_HOME=$(CURDIR)/build/cache
LESS_OMP = env OMP_DYNAMIC=true OMP_THREAD_LIMIT=1 VK_ICD_FILENAMES=/dev/null VK_DRIVER_FILES=/dev/null
check: all tests
	@unset OMP_DYNAMIC OMP_THREAD_LIMIT; pass=0; fail=0; \
	run() { \
	    echo "== $$1"; shift; "$$@"; \
	    case $$? in 0) pass=$$((pass + 1));; 77) echo "skipped";; *) fail=$$((fail + 1)); echo "FAILED: $$*";; esac; \
	}; \
	run lint                  $(MAKE) -s lint; \
	run checkheaders          $(MAKE) -s checkheaders; \
	$(if $(filter --coverage -fsanitize% no,$(CONFIG_SHARED) $(CFLAGS)),,run checksymbols $(MAKE) -s checksymbols;) \
	$(if $(filter yes,$(CONFIG_TESTS)), \
	run unit                  $(TEST_ENV) build/tests/unit; \
	run unit-less-openmp      $(LESS_OMP) build/tests/unit; \
	run checkkernels          $(TEST_ENV) build/tests/checkkernels; \
	run golden                $(TEST_ENV) build/tests/golden; \
	run agreement             sh $(SRC_PATH)/tests/agreement.sh --tasks=IPC; \
	$(if $(filter yes,$(CONFIG_VULKAN)),run validation $(TEST_ENV) sh $(SRC_PATH)/tests/validation.sh;) \
	run golden-less-openmp    $(LESS_OMP) build/tests/golden;) \
	$(if $(filter yes,$(CONFIG_TESTS)),run training env PYTHON="$(PYTHON)" sh $(SRC_PATH)/tests/training.sh;) \
	if test -x build/ffmpeg/ffmpeg && test -f $(SRC_PATH)/tests/fate/run.sh; then \
	    run fate $(MAKE) -s fate; \
	    $(if $(filter yes,$(CONFIG_VULKAN)),run fate-vulkan $(TEST_ENV) sh $(SRC_PATH)/tests/fate/vulkan.sh;) \
	    if test -x build/preload/ffmpeg; then run fate-preload $(MAKE) -s fate FFMPEG=build/preload/ffmpeg; fi; \
	fi; \
	echo "$$pass passed, $$fail failed"; test $$fail = 0

FFMPEG ?= $(or $(wildcard build/ffmpeg/ffmpeg),$(wildcard $(FFMPEG_SRC:%=%/ffmpeg)))
fate: all
	test -n "$(FFMPEG)" || { echo "no patched ffmpeg: see patches/README.md, then make fate FFMPEG=PATH"; exit 1; }
	FFMPEG="$(FFMPEG)" sh $(SRC_PATH)/tests/fate/run.sh

# the filters for the distribution's own ffmpeg, see README.md
preload: all
	sh $(SRC_PATH)/tools/build-preload.sh

# the filter tests under a memory checker: with sanitizers, or as they are under valgrind
fate-asan:
	sh $(SRC_PATH)/tests/memcheck.sh asan

fate-valgrind: all
	sh $(SRC_PATH)/tests/memcheck.sh valgrind

# kernels, then models: minutes on a quiet machine. BENCH_FLAGS as training/bench.py --help has them, for parts of it;
# with them, kernels are left out
bench: all build/tests/checkkernels
	$(if $(BENCH_FLAGS),,build/tests/checkkernels --bench)
	@for python in $(PYTHON) python3 /usr/bin/python3 none; do $$python -c 'import torch' 2> /dev/null && break; done; \
	if test $$python = none; then \
	    for python in $(PYTHON) python3 /usr/bin/python3 none; do $$python -c 'import numpy' 2> /dev/null && break; done; \
	fi; \
	test $$python != none || { echo "no Python with numpy: models are not measured"; exit; }; \
	PYTHONDONTWRITEBYTECODE=1 $$python $(SRC_PATH)/training/bench.py --magvit build/magvit $(BENCH_FLAGS)

# figures of the filters and of their peers, into doc/QUALITY.md: a minute a clip
#   QUALITY_CLIPS=DIR LPIPS_WEIGHTS=DIR MODEL=FILE, QUALITY_FLAGS as training/quality.py --help has them
quality: all
	test -n "$(FFMPEG)" || { echo "no patched ffmpeg: see patches/README.md, then make quality FFMPEG=PATH"; exit 1; }
	@for python in $(PYTHON) python3 /usr/bin/python3 none; do \
	    $$python -c 'import numpy $(if $(LPIPS_WEIGHTS),; import torch)' 2> /dev/null && break; \
	done; \
	test $$python != none || { echo "no Python with numpy$(if $(LPIPS_WEIGHTS), and torch)"; exit 1; }; \
	PYTHONDONTWRITEBYTECODE=1 $$python $(SRC_PATH)/training/quality.py --ffmpeg "$(FFMPEG)" --magvit build/magvit \
	    $(if $(QUALITY_CLIPS),--data "$(QUALITY_CLIPS)") $(if $(LPIPS_WEIGHTS),--lpips "$(LPIPS_WEIGHTS)") \
	    $(if $(MODEL),--model "$(MODEL)") --out build/quality --write $(SRC_PATH)/doc/QUALITY.md $(QUALITY_FLAGS)

# how many tokens bf16 and int8 share with float32: AGREEMENT_CLIPS, else the samples; tests/agreement.sh has the limits
agreement: build/tests/agreement
	sh $(SRC_PATH)/tests/agreement.sh $(AGREEMENT_FLAGS) $(AGREEMENT_CLIPS)

asan:
	mkdir -p build/asan
	cd build/asan && $(SRC_PATH)/configure --enable-asan --enable-ubsan --enable-werror --cc="$(CC)"
	$(MAKE) -C build/asan check

# ---------------------------------------------------------------- installing

install: all
	$(INSTALL) -d $(DESTDIR)$(includedir) $(DESTDIR)$(libdir)/pkgconfig $(DESTDIR)$(datadir)
	$(INSTALL) -m 644 $(SRC_PATH)/libmagvit/magvit.h $(DESTDIR)$(includedir)
	$(INSTALL) -m 644 libmagvit.pc $(DESTDIR)$(libdir)/pkgconfig
ifeq ($(CONFIG_STATIC),yes)
	$(INSTALL) -m 644 $(STATIC_LIB) $(DESTDIR)$(libdir)
endif
ifeq ($(CONFIG_SHARED),yes)
	$(INSTALL) -m 755 $(SHARED_LIB) $(DESTDIR)$(libdir)
	ln -sf libmagvit.so.$(VERSION) $(DESTDIR)$(libdir)/libmagvit.so.$(SOVERSION)
	ln -sf libmagvit.so.$(VERSION) $(DESTDIR)$(libdir)/libmagvit.so
endif
ifeq ($(CONFIG_TOOLS),yes)
	$(INSTALL) -d $(DESTDIR)$(bindir)
	$(INSTALL) -m 755 build/magvit $(DESTDIR)$(bindir)
endif
	$(if $(MODELS),$(INSTALL) -m 644 $(MODELS) $(DESTDIR)$(datadir))

uninstall:
	rm -f $(DESTDIR)$(includedir)/magvit.h $(DESTDIR)$(libdir)/pkgconfig/libmagvit.pc
	rm -f $(DESTDIR)$(libdir)/libmagvit.a $(DESTDIR)$(libdir)/libmagvit.so*
	rm -f $(DESTDIR)$(bindir)/magvit $(MODELS:$(SRC_PATH)/models/%=$(DESTDIR)$(datadir)/%)
	-rmdir $(DESTDIR)$(datadir) 2> /dev/null

# pkg-config's file and a patched FFmpeg stay: the first is configure's, the second took minutes
clean:
	rm -rf build/obj build/shared build/tests build/cache build/asan build/magvit $(STATIC_LIB)

distclean:
	rm -rf build config.h config.mak config.log libmagvit.pc

help:
	@echo "all            libraries and the magvit tool (default)"
	@echo "tests          test programs"
	@echo "check          lint, headers, unit, kernel and golden tests; filters if build/ffmpeg/ffmpeg exists"
	@echo "lint           style and include rules of the source tree"
	@echo "checkheaders   compile every header alone"
	@echo "checksymbols   list of names the shared library exports"
	@echo "fate           filter tests with a patched ffmpeg"
	@echo "preload        build/magvit-ffmpeg: the distribution's own ffmpeg with the filters"
	@echo "fate-asan      filter tests with sanitizers; fate-valgrind: some of them under valgrind"
	@echo "bench          kernel timings, models beside PyTorch, threads, frames, area, minterpolate"
	@echo "quality        PSNR, SSIM, LPIPS of the filters and their peers, into doc/QUALITY.md, which says how"
	@echo "agreement      tokens that bf16 and int8 share with float32 on clips"
	@echo "asan           make check with address and undefined behaviour sanitizers, in build/asan"
	@echo "install        DESTDIR is honoured; uninstall undoes it"
	@echo "clean          remove what make made; distclean: what configure made, too"
	@echo "V=1            show commands"

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all lib tests preload lint check checkheaders checksymbols fate fate-asan fate-valgrind bench quality agreement asan install uninstall clean distclean help
