# As root, or as a user with sudo. `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The kernel's tests mount, so they run as root; sudo drops what isn't named.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env=IMAGEFS_TEST_CACHE)
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup venv demo test lint format bench torture clean-mounts clean

help:             ## this list
	@sed -n 's/^\([a-z-]*\):.*## */\1\t/p' Makefile | expand -t 16

setup:            ## install the Debian packages that are missing
	@.ci/setup

venv: setup       ## make .venv with the pinned dependencies
	@$(MAKE) --no-print-directory $(VENV)/.installed

$(VENV)/.installed: pyproject.toml setup.py .ci/constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c .ci/constraints.txt -e '.[dev]'
	@touch $@

demo: venv        ## make an image from Debian packages; mount, change, commit, run it
	$(AS_ROOT) $(BIN)/python .ci/demo.py

test: venv lint   ## lint, then all tests; pytest's summary comes last
	$(BIN)/pytest tests $(PYTEST_ARGS)
	$(AS_ROOT) $(BIN)/pytest kernel-tests $(PYTEST_ARGS)

lint: venv        ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy -p imagefs -p imagefs_cli -p harness -p bench
	$(BIN)/lint-imports --no-logo

format: venv      ## write what ruff would change
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: venv       ## ratios against ext4, overlayfs and podman; BENCH=NAME for one
	$(AS_ROOT) $(BIN)/python kernel-tests/bench/run.py $(BENCH)

torture: venv     ## 200 kill -9 of server and keeper under verifying workers
	$(AS_ROOT) env IMAGEFS_KILLS=200 $(BIN)/pytest kernel-tests/crash $(PYTEST_ARGS)

clean-mounts:     ## abort and detach EVERY mount of imagefs on this machine, also others'
	$(AS_ROOT) $(PYTHON) -m imagefs.testing.leftovers

clean:            ## remove what make made; mounts stay
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
