# make run      count the words of Python's own library, on this machine, with no broker
# make test     install what the tests need, then `make check` and all tests
# make check    format, lint, types
# make chaos    kill workers, clients and the broker 500 times while jobs run; a quarter of an hour
# make simulate play whole jobs on a virtual clock over a broker that fails: SEEDS=100000, REPLAY=4711 for one with its trace
# make mutations  break each rule of the design on purpose: the simulator must notice
# make bench    compare with other engines, programs by hand and the machine's limits; an hour: ONLY=wordcount,small ROUNDS=3
# make clean    remove what was made, but for .venv; `make distclean` removes that too
#
# PYTHON=python3.12 make run           make .venv with another Python than python3
# MR_TEST_BROKER=amqp://… make test    use a broker that is there already, install none
# make test TESTS=tests/test_jobs.py   only some tests

export PYTHON ?= python3
TESTS ?= tests
# tests wait for a third of their time, for processes that start and for limits: one more than there are cores
TEST_PROCESSES ?= 3
PROCESSES ?= 2
SEEDS ?= 2000
CHAOS ?= --kills 500 --seed 1

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: help run test check format chaos simulate mutations bench clean distclean

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# installed before there was a compiler: once more
COMPILED = $(BIN)/python -c 'import mapreduce._loops' 2> /dev/null || rm -f .venv/.installed
STDLIB = $(shell $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

run: .venv/.installed
	@mkdir -p build
	$(BIN)/mr run jobs/wordcount.py '$(STDLIB)/**/*.py' --encoding-errors replace > build/words.tsv
	LC_ALL=C sort -t $$'\t' -k 2,2nr -k 1,1 build/words.tsv > build/by-count.tsv
	head -n 20 build/by-count.tsv

test:
	@.ci/packages
	@$(COMPILED)
	@$(MAKE) --no-print-directory check
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist worksteal $(TESTS)

check: .venv/.develop
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/.develop
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

chaos: .venv/.develop
	$(BIN)/python -m tests.chaos $(CHAOS)

simulate: .venv/.develop
	$(BIN)/python -m tests.simulate --processes $(PROCESSES) $(if $(REPLAY),--replay $(REPLAY),--seeds $(SEEDS))

mutations: .venv/.develop
	$(BIN)/python -m tests.mutations --processes $(PROCESSES)

bench:
	@.ci/packages
	@$(COMPILED)
	@$(MAKE) --no-print-directory .venv/.installed
	$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY)) $(if $(FROM),--from $(FROM)) $(if $(ROUNDS),--rounds $(ROUNDS))

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis bench/data
	find mapreduce jobs bench tests -name __pycache__ -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv mapreduce/*.so

# Made last by `python -m venv`: with it, the environment is whole.
.venv/bin/pip:
	@"$$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 9))' || \
	    { echo "make: $$PYTHON is not there or older than 3.9; name another one: PYTHON=python3.12 make …" >&2; exit 1; }
	@"$$PYTHON" -c 'import ensurepip' 2> /dev/null || \
	    { echo "make: $$PYTHON cannot make virtual environments; Debian, Ubuntu: apt install python3-venv" >&2; exit 1; }
	"$$PYTHON" -m venv .venv

.venv/.installed: setup.py pyproject.toml $(wildcard mapreduce/csrc/*.[ch]) | .venv/bin/pip
	$(PIP) --editable .
	@touch $@

.venv/.develop: .venv/.installed
	$(PIP) --editable '.[dev]'
	@touch $@
