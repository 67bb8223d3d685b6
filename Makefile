# SPDX-License-Identifier: Apache-2.0
# The one thing a newcomer types; the work is CMake's.  `make help` lists targets.

SHELL := /bin/sh
PREFIX ?= /usr/local
DESTDIR ?=
N ?= 2
T ?= 600
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

bench: ## set up what a build needs, build, measure all_reduce on N=2 ranks
	@scripts/deps.sh build
	@scripts/build.sh release
	@build/release/devcomm bench all_reduce -n $(N)

test: ## set up all tools, run every test and check
	@scripts/deps.sh test
	@scripts/test-all

bench-queue: ## compare the queue with other channels; writes docs/benchmarks/queue.md
	@scripts/deps.sh peers
	@cmake -S . -B build/peers -DCMAKE_BUILD_TYPE=Release -DDEVCOMM_BENCH_PEERS=ON >/dev/null
	@cmake --build build/peers -j 2 --target bench_queue >/dev/null
	@bench/queue/run --build build/peers $(PEERS)

bench-peers: ## compare with Open MPI, MPICH and Gloo; writes docs/benchmarks/cpu.md
	@scripts/deps.sh peers
	@cmake -S . -B build/peers -DCMAKE_BUILD_TYPE=Release -DDEVCOMM_BENCH_PEERS=ON >/dev/null
	@cmake --build build/peers -j 2 --target bench_peers >/dev/null
	@bench/peers/run --build build/peers $(PEERS)

build: ## build the release
	@scripts/deps.sh build
	@scripts/build.sh release

check-fast: ## format, includes, sizes, spelling: seconds
	@scripts/check-all fast

unit: ## build and run the quick tests alone
	@scripts/build.sh dev
	@ctest --test-dir build/dev -L "unit|model" --output-on-failure

asan: ## the tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@scripts/build.sh asan
	@ctest --preset asan

tsan: ## the tests under ThreadSanitizer
	@scripts/build.sh tsan
	@ctest --preset tsan

cov: ## line coverage of the library
	@scripts/deps.sh cov
	@scripts/build.sh cov
	@ctest --preset cov
	@gcovr -r . --object-directory build/cov -f src/ --exclude src/bench \
		--exclude-directories '.*CompilerId.*' --fail-under-line 90

soak: ## the tests of dying ranks, over and over
	@scripts/build.sh dev
	@ctest --test-dir build/dev -R test_kill --repeat until-fail:20 --output-on-failure
	@DEVCOMM_TEST_SOAK=20 build/dev/test_queue_mp

fuzz: ## fuzz each target for T=600 seconds (clang), two at a time
	@scripts/deps.sh test
	@scripts/fuzz $(T)

fuzz-smoke: ## fuzz each target for 30 seconds
	@scripts/fuzz 30

torture: ## make every call of libc fail in turn: ten minutes
	@scripts/build.sh dev
	@DEVCOMM_TORTURE_FULL=1 ctest --test-dir build/dev -L torture --timeout 3000 --output-on-failure

fmt: ## format all C files (clang-format 14)
	@scripts/check-format --fix

man: ## build the man pages
	@scripts/build.sh release
	@cmake --build build/release --target man

install: ## install the release to PREFIX (and DESTDIR)
	@scripts/build.sh release
	@DESTDIR=$(DESTDIR) cmake --install build/release --prefix $(PREFIX) >/dev/null
	@echo "installed to $(DESTDIR)$(PREFIX)"

clean: ## remove what was built
	@rm -rf build

PEERS ?=
.PHONY: help bench bench-queue bench-peers test build check-fast unit asan tsan cov soak fuzz fuzz-smoke torture fmt man install clean
