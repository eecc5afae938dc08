# Two commands for a new user (make demo, make test); the rest for whoever works on lathe. `make` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

JOBS ?= $(shell nproc 2>/dev/null || echo 2)
SECONDS_EACH := $(if $(filter command line environment,$(origin SECONDS)),$(SECONDS),60)
# Modules are compiled in a few pieces each: a cold build takes two thirds of the time. For work on one file
# configure without it (cmake --preset release). Code is what a shared object needs, too, and its paths are given from
# the folder of the build, so that ccache has the library but once for the program, the tests and the Python package.
CMAKE_ARGS ?= -DLATHE_UNITY=ON -DCMAKE_POSITION_INDEPENDENT_CODE=ON -DCMAKE_CXX_VISIBILITY_PRESET=hidden -DCMAKE_VISIBILITY_INLINES_HIDDEN=ON
export CCACHE_BASEDIR := $(CURDIR)
# What runs again under a sanitizer: in `make test` and `make test-threads` the folders where it has most to find, within
# a few minutes of compiling (parsers by their fuzz targets); in `make asan` and `make tsan` all that have foreign bytes
# or threads.
ASAN_SHORT := ^(formats|plan|kernels_cpu|runtime_(kv|sched|engine)|serve_(http|server)|fuzz)
ASAN_FULL := ^(base|platform|text|formats|model|ir|plan|compiler|kernels|runtime|serve|hub|package|fuzz)
TSAN_SHORT := ^(platform|comm|runtime_engine|serve_(http|server))
TSAN_FULL := ^(platform|comm|kernels_cpu|runtime|serve|hub|e2e_(determinism|ranks))
# What the clients of the tests need from PyPI, by tests/clients/requirements.txt.
CLIENTS := build/clients-venv
# Truss and an SBOM validator, which bring much along.
PACKAGE := build/package-venv
# NVIDIA's run-time compiler from PyPI: it needs no GPU.
KERNELS := build/kernels-venv

.PHONY: help demo serve test test-threads test-clients test-deploy test-kernels test-load test-load-asan test-load-tsan build app asan-short tsan-short asan tsan format tidy fuzz bench install clean

help:  ## this table
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: app  ## install what is missing, build, compile models/tales-16m, tell a story, print the speed
	LATHE=$(CURDIR)/build/app/bin/lathe tools/demo.sh

serve: app  ## serve models/tales-16m on http://127.0.0.1:8000, as OpenAI's clients expect it
	@exec build/app/bin/lathe serve models/tales-16m

app:  ## build the lathe program alone: build/app/bin/lathe
	@tools/bootstrap.sh build
	@cmake --preset app $(CMAKE_ARGS) --log-level=NOTICE
	@cmake --build build/app -j$(JOBS) --target lathe

build:  ## build everything, tests included: build/release
	@tools/bootstrap.sh test
	@cmake --preset release $(CMAKE_ARGS) --log-level=NOTICE
	@cmake --build build/release -j$(JOBS)

test: build asan-short  ## unit, golden, layers, style, docs, short fuzzing, asan; CI runs test-threads and test-clients as well
	@mkdir -p build/check
	@printf 'subdirs("%s")\n' $(foreach d,release asan,"$(CURDIR)/build/$(d)") > build/check/CTestTestfile.cmake
	@ctest --test-dir build/check -j$(JOBS) --output-on-failure --no-tests=error

test-threads: tsan-short  ## what has threads, under the thread sanitizer; `make tsan` for more of it
	@ctest --test-dir build/tsan -j$(JOBS) --output-on-failure --no-tests=error

define configure_sanitizer  # folder, tests
	@tools/bootstrap.sh test
	@cmake --preset $(1) -DLATHE_TEST_FILTER='$(2)' $(CMAKE_ARGS) --log-level=NOTICE
	@cmake --build build/$(1) -j$(JOBS) --target lathe_tests
endef

asan-short:
	$(call configure_sanitizer,asan,$(ASAN_SHORT))

tsan-short:
	$(call configure_sanitizer,tsan,$(TSAN_SHORT))

asan:  ## everything that reads foreign bytes, under the address and undefined-behaviour sanitizers
	$(call configure_sanitizer,asan,$(ASAN_FULL))
	@ctest --test-dir build/asan -j$(JOBS) --output-on-failure --no-tests=error

tsan:  ## everything that has threads, under the thread sanitizer
	$(call configure_sanitizer,tsan,$(TSAN_FULL))
	@ctest --test-dir build/tsan -j$(JOBS) --output-on-failure --no-tests=error

$(CLIENTS)/ready: tests/clients/requirements.txt tests/deploy/requirements.txt tests/hub/requirements.txt python/tests/requirements.txt
	@tools/bootstrap.sh clients
	@python3 -m venv $(CLIENTS)
	@$(CLIENTS)/bin/pip install --quiet --disable-pip-version-check $(addprefix -r ,$^)
	@touch $@

test-clients: app $(CLIENTS)/ready  ## the official openai client, schemathesis, Chromium against lathe serve (from PyPI); test-hub, -python, -package, -deploy, -kernels
	@LATHE=$(CURDIR)/build/app/bin/lathe tests/clients/run.sh $(CLIENTS)/bin/python
	@$(MAKE) --no-print-directory test-hub
	@$(MAKE) --no-print-directory test-python
	@$(MAKE) --no-print-directory test-package
	@$(MAKE) --no-print-directory test-deploy
	@$(MAKE) --no-print-directory test-kernels

test-hub: app $(CLIENTS)/ready  ## lathe pull and push against a double of the hub that the official client works with, too
	@LATHE=$(CURDIR)/build/app/bin/lathe $(CLIENTS)/bin/python -m pytest -q --tb=short -p no:cacheprovider tests/hub

.PHONY: python test-python test-hub
python:  ## the Python package, as a wheel in build/python/dist (pip install ./python installs it)
	@tools/bootstrap.sh python
	@python3 -m venv build/python/venv
	@CC=$${CC:-cc} CXX=$${CXX:-c++} build/python/venv/bin/pip wheel --quiet --disable-pip-version-check --no-deps -w build/python/dist ./python
	@ls build/python/dist/*.whl

test-python: app $(CLIENTS)/ready  ## the Python package, installed into the clients' environment
	@LATHE=$(CURDIR)/build/app/bin/lathe python/tests/run.sh $(CLIENTS)/bin/python

$(PACKAGE)/ready: tests/package/requirements.txt
	@tools/bootstrap.sh clients
	@python3 -m venv $(PACKAGE)
	@$(PACKAGE)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# The Truss has the Python package inside that test-python installed, if it did.
.PHONY: test-package
test-package: app $(PACKAGE)/ready  ## images by lathe package under skopeo, umoci, buildah, crun (needs root); Trusses and SBOMs
	@LATHE=$(CURDIR)/build/app/bin/lathe tests/package/run.sh $(PACKAGE)/bin/python $(CLIENTS)

test-deploy: app $(CLIENTS)/ready  ## Kubernetes manifests and the dashboard; rolling restarts and kills behind HAProxy (4 minutes)
	@LATHE=$(CURDIR)/build/app/bin/lathe tests/deploy/run.sh $(CLIENTS)/bin/python

$(KERNELS)/ready: tests/kernels/requirements.txt
	@python3 -m venv $(KERNELS)
	@$(KERNELS)/bin/pip install --quiet --disable-pip-version-check -r $<
	@ln -sfn "$$(dirname "$$(find "$$PWD/$(KERNELS)" -name 'libnvrtc.so.*' | head -1)")" $(KERNELS)/nvrtc
	@touch $@

test-kernels: $(KERNELS)/ready  ## compile every CUDA kernel, and engines, for every supported chip (NVRTC from PyPI, no GPU needed)
	@tools/bootstrap.sh test
	@cmake --preset release $(CMAKE_ARGS) --log-level=NOTICE
	@cmake --build build/release -j$(JOBS) --target kernels_cuda_test compiler_test
	@LATHE_NVRTC=$(CURDIR)/$(KERNELS)/nvrtc build/release/kernels_cuda_test --gtest_brief=1
	@LATHE_NVRTC=$(CURDIR)/$(KERNELS)/nvrtc build/release/compiler_test --gtest_brief=1 --gtest_filter='CudaKernels.*'

.PHONY: portable test-gpu
portable: app  ## build/portable/lathe: stripped, its libraries beside it, for any Linux with this glibc or newer
	@tools/portable.sh build/portable build/app/bin/lathe
	@tests/tools/portable_test.sh build/portable

test-gpu:  ## every test that needs a GPU, under 5 minutes; tests/gpu/sanitize.sh for compute-sanitizer
	@tools/bootstrap.sh test
	@cmake --preset release $(CMAKE_ARGS) --log-level=NOTICE
	@cmake --build build/release -j$(JOBS) --target gpu_test lathe
	@build/release/gpu_test
	@tests/gpu/device_test.py --lathe build/release/bin/lathe

test-load: app  ## lathe serve under load and abuse, minutes; SCALE=10 for more (docs/reliability.md)
	@LATHE=$(CURDIR)/build/app/bin/lathe tests/load/run.sh

# Limits of time are ten times longer there, and nothing is measured.
define load_with_sanitizer  # folder
	@tools/bootstrap.sh test
	@cmake --preset $(1) $(CMAKE_ARGS) --log-level=NOTICE
	@cmake --build build/$(1) -j$(JOBS) --target lathe
	@LATHE=$(CURDIR)/build/$(1)/bin/lathe SLOW=10 TESTS="$${TESTS:-chaos drain}" tests/load/run.sh
endef

test-load-asan:  ## abuse and drain against lathe built with the address and undefined-behaviour sanitizers
	$(call load_with_sanitizer,asan)

test-load-tsan:  ## the same with the thread sanitizer; SCALE=0.1 for less
	$(call load_with_sanitizer,tsan)

fuzz:  ## libFuzzer on every parser, SECONDS=60 each; crashes are kept in build/fuzz/crashes
	@tools/bootstrap.sh fuzz
	@cmake --preset fuzz $(CMAKE_ARGS) --log-level=NOTICE
	@cmake --build build/fuzz -j$(JOBS) --target lathe_fuzzers
	@tools/fuzz.sh build/fuzz $(SECONDS_EACH)

bench:  ## speed of the CPU kernels and of tales-16m on this machine (docs/benchmarks.md)
	@$(MAKE) --no-print-directory app
	@build/app/bin/lathe machine
	@build/app/bin/lathe bench latency models/tales-16m
	@build/app/bin/lathe bench throughput models/tales-16m

format:  ## clang-format every source file
	@tools/bootstrap.sh test
	@git ls-files '*.cc' '*.h' | xargs clang-format -i

tidy: build  ## clang-tidy over every source file
	@tools/bootstrap.sh tidy
	@git ls-files 'src/*.cc' 'apps/*.cc' | grep -v '/isa/' | xargs -P $(JOBS) -n 4 clang-tidy --quiet --extra-arg=-Wno-unknown-warning-option -p build/release

install: app  ## copy the program to $(DESTDIR)$(PREFIX)/bin, its one library to lib
	install -D -m 755 build/app/bin/lathe $(DESTDIR)$(or $(PREFIX),/usr/local)/bin/lathe
	install -D -m 644 -t $(DESTDIR)$(or $(PREFIX),/usr/local)/lib build/app/bin/libprometheus-cpp-core.so.*

clean:  ## remove build/
	rm -rf build
