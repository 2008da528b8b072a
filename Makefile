# What people and continuous integration run. `make` alone lists it.
PYTHON ?= python3
PORT ?= 8000
# bench-fill: files (or a folder of them) with V, V_truth and V_gap; a scorer beside them is used if there is one
CASES ?= out/cases
SYSTEMS ?= zero-shot,tuned,trained
SEEDS ?= 3
# seeds of networks trained from nothing, which take longest
TRAINED_SEEDS ?= $(SEEDS)
MINUTES ?= 10
# bundle that fills zero-shot (the default one where empty), and general bundle of an untrained network, if any
GENERAL ?=
UNTRAINED ?=
SCORE ?= $(wildcard $(firstword $(CASES))/score.py)
PARALLEL ?= 1
# test: processes that share the tests
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
WORK ?= out/bench-fill

VENV := .venv
RUN := $(VENV)/bin/python
PIP_INSTALL := $(RUN) -m pip install -qq --disable-pip-version-check --no-input
# A file's tests stay in one process, and files start in the order of tests/conftest.py: those with slow tests first.
PYTEST := $(RUN) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder
CACHES := .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage build dist hydrofill.egg-info

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo serve test test-fast check wheel bench bench-fill page clean
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup: $(VENV)/.stamp-serve ## make .venv with what serving and the demo need (no torch)
	@echo "$(VENV) is ready: make demo, make serve"

setup-dev: $(VENV)/.stamp-dev ## make .venv with everything: serving, training, tests
	@echo "$(VENV) is ready: make test, make check, make bench"

demo: $(VENV)/.stamp-serve ## fill a real gappy sample through the server: out/demo.nc, out/demo.png
	@$(RUN) -m app demo

serve: $(VENV)/.stamp-serve ## start the server on PORT (8000)
	@$(RUN) -m app serve --port $(PORT)

test: $(VENV)/.stamp-dev ## run the whole test suite
	@$(PYTEST)

test-fast: $(VENV)/.stamp-dev ## run the tests that together take less than a minute
	@$(PYTEST) -m "not slow and not browser and not network and not gpu"

check: $(VENV)/.stamp-dev ## lint, format, import rules, types, and no merge conflict left
	@if grep -rnE '^(<{7}|>{7})' --exclude-dir=.git --exclude-dir=$(VENV) --exclude-dir=node_modules --exclude-dir=out --exclude-dir=runs .; then \
	  echo "these lines are left of a merge conflict" >&2; exit 1; fi
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy

wheel: $(VENV)/.stamp-serve ## build the wheel of the library and its default bundle into dist/
	@$(RUN) -m pip wheel -q --disable-pip-version-check --no-deps -w dist .

bench: $(VENV)/.stamp-dev ## run the benchmarks
	@$(RUN) -m benchmarks

bench-fill: $(VENV)/.stamp-dev ## fill CASES by SYSTEMS (trained for MINUTES, SEEDS) and every baseline: docs/results/fill.md
	@$(RUN) -m benchmarks.fill $(CASES) --systems $(SYSTEMS) --minutes $(MINUTES) --seeds $(SEEDS) --parallel $(PARALLEL) \
	  --trained-seeds $(TRAINED_SEEDS) --work $(WORK) $(if $(GENERAL),--general $(GENERAL)) $(if $(UNTRAINED),--untrained $(UNTRAINED)) \
	  $(if $(SCORE),--score $(SCORE))

page: ## build the web page from frontend/ into app/page/dist (needs node 20 or newer)
	@cd frontend && npm install --no-save && npm run build

clean: ## remove .venv, out/ and the caches; runs/ and bundles/ stay
	@rm -rf $(VENV) out $(CACHES)
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is written last, so an interrupted installation is taken up again by the next make.
$(VENV)/.stamp-venv:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || { \
	  echo "hydrofill needs Python 3.11, 3.12 or 3.13, but $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo missing): try 'make $(or $(MAKECMDGOALS),setup) PYTHON=python3.12'" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "$(PYTHON) cannot make an environment: on Debian and Ubuntu, install the package python3-venv" >&2; exit 1; }
	@touch $@

$(VENV)/.stamp-serve: pyproject.toml constraints/serve.txt $(VENV)/.stamp-venv
	@echo "Installing what serving needs into $(VENV): about 800 MB, no torch; two minutes the first time"
	@$(PIP_INSTALL) -e '.[demo]' -c constraints/serve.txt
	@$(RUN) -m hydrofill.guesses.compile
	@touch $@

# After .stamp-serve, so that `make -j` never runs two installations in one environment.
$(VENV)/.stamp-dev: pyproject.toml constraints/dev.txt $(VENV)/.stamp-serve
	@echo "Installing training, export and the tests' tools into $(VENV): about 1.7 GB; some minutes the first time"
	@$(PIP_INSTALL) -e '.[dev]' -c constraints/dev.txt
	@touch $@
