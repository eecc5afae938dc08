# Two commands for a new user (make demo, make test); the rest for whoever works on lathe. `make` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

JOBS ?= $(shell nproc 2>/dev/null || echo 2)
SECONDS_EACH := $(if $(filter command line environment,$(origin SECONDS)),$(SECONDS),60)
CMAKE_ARGS ?=
# Tests worth running again under each sanitizer: parsers and allocators under asan; whatever has threads under tsan.
ASAN_TESTS := ^(base|platform|text|text_template|formats|model|ir|plan|kernels_pack|runtime_.*|fuzz)
TSAN_TESTS := ^(platform|comm|runtime_(sched|exec|dist|engine)|kernels_cpu_team)

.PHONY: help demo test build app build-asan build-tsan asan tsan format tidy fuzz bench install clean

help:  ## this table
	@awk -F':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: app  ## install what is missing, build, compile models/tales-16m, tell a story, print the speed
	LATHE=$(CURDIR)/build/app/bin/lathe tools/demo.sh

app:  ## build the lathe program alone: build/app/bin/lathe
	@tools/bootstrap.sh build
	@cmake --preset app $(CMAKE_ARGS) --log-level=NOTICE
	@cmake --build build/app -j$(JOBS) --target lathe

build:  ## build everything, tests included: build/release
	@tools/bootstrap.sh test
	@cmake --preset release $(CMAKE_ARGS) --log-level=NOTICE
	@cmake --build build/release -j$(JOBS)

test: build build-asan build-tsan  ## every test: unit, golden, layers, style, docs, short fuzzing, asan and tsan
	@mkdir -p build/check
	@printf 'subdirs("%s")\n' $(foreach d,release asan tsan,"$(CURDIR)/build/$(d)") > build/check/CTestTestfile.cmake
	@ctest --test-dir build/check -j$(JOBS) --output-on-failure --no-tests=error

build-asan:
	@tools/bootstrap.sh test
	@cmake --preset asan -DLATHE_TEST_FILTER='$(ASAN_TESTS)' $(CMAKE_ARGS) --log-level=NOTICE
	@cmake --build build/asan -j$(JOBS) --target lathe_tests

build-tsan:
	@tools/bootstrap.sh test
	@cmake --preset tsan -DLATHE_TEST_FILTER='$(TSAN_TESTS)' $(CMAKE_ARGS) --log-level=NOTICE
	@cmake --build build/tsan -j$(JOBS) --target lathe_tests

asan: build-asan  ## parsers and the runtime under the address and undefined-behaviour sanitizers
	@ctest --test-dir build/asan -j$(JOBS) --output-on-failure --no-tests=error

tsan: build-tsan  ## whatever has threads under the thread sanitizer
	@ctest --test-dir build/tsan -j$(JOBS) --output-on-failure --no-tests=error

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

install: app  ## copy the program to $(DESTDIR)$(PREFIX)/bin
	install -D -m 755 build/app/bin/lathe $(DESTDIR)$(or $(PREFIX),/usr/local)/bin/lathe

clean:  ## remove build/
	rm -rf build
