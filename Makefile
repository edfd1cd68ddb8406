# `make up` and `make test` are all that a newcomer needs; each sets up what it needs first.
# It takes Python >= 3.11, git and make; nothing here needs root, except `make system-packages`.

.DEFAULT_GOAL := help
.SUFFIXES:
SHELL := /bin/sh

# The environment; may lie outside of the tree.
VENV ?= .venv
# A Python >= 3.11 to make it from; empty: the quickest that is found (builds of one version differ by half).
PYTHON ?=
# Options of the command that a target runs: make up ARGS="--port 9000", make test ARGS="-k journal".
ARGS ?=
# Test files that run at once; more than there are cores, as many tests wait more than they compute.
JOBS ?= 3
# Model files, shared by `make up` and `make test`.
export PODIUM_MODELS_DIR ?= $(CURDIR)/.models

BIN := $(abspath $(VENV))/bin
STAMP := $(VENV)/.podium-stamp

# The installer works on our environment and on no other, takes the interpreter that is there, and trusts the
# certificates that this system trusts.
export UV_PROJECT_ENVIRONMENT := $(abspath $(VENV))
export UV_PYTHON_DOWNLOADS := never
export UV_SYSTEM_CERTS ?= 1
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME

.PHONY: help
help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: up
up: $(STAMP) ## Start Podium with a chat and an embedding model; ARGS="--port 9000" passes options.
	@exec $(BIN)/podium up $(ARGS)

.PHONY: test
test: $(STAMP) ## Check style, types and floors, then run all tests; ARGS="-k journal" passes options, JOBS=1 runs one after the other.
	@$(MAKE) --no-print-directory --jobs 2 lint test-setup
	$(BIN)/pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: test-setup
test-setup: $(STAMP) ## Fetch the models and compile what `make test` runs.
	@echo "Checking the models in $$PODIUM_MODELS_DIR"
	@$(BIN)/podium models fetch >/dev/null
	@$(BIN)/python -m compileall -q src
	@# As for the environment: else each process that runs tests would rewrite and compile all of them. What is wrong in
	@# them is told by the run itself.
	@[ -d tests/__pycache__ ] || env -u PYTHONDONTWRITEBYTECODE $(BIN)/pytest --collect-only --quiet >/dev/null 2>&1 || true

.PHONY: lint
lint: $(STAMP) ## Check style and types.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

.PHONY: format
format: $(STAMP) ## Put the code into the one format.
	$(BIN)/ruff check --fix --exit-zero
	$(BIN)/ruff format

.PHONY: reference
reference: $(STAMP) ## Write the reference pages that are made from the code.
	$(BIN)/python scripts/generate_reference.py
	$(BIN)/python scripts/draw_phases.py

.PHONY: simulate-rollouts
simulate-rollouts: $(STAMP) ## Simulate thousands of rollouts and draw docs/rollouts.md's figures (some minutes).
	$(BIN)/python scripts/simulate_rollouts.py $(ARGS)

.PHONY: bench
bench: $(STAMP) ## Measure Podium beside other gateways (about an hour); ARGS="--quick --rounds 1" tries it out.
	$(BIN)/python bench/run.py $(ARGS)

.PHONY: models
models: $(STAMP) ## Fetch the small models and check them.
	$(BIN)/podium models fetch $(ARGS)

.PHONY: setup
setup: $(STAMP) ## Make the environment; the other targets do it by themselves.

# Whether the environment is as the lock file says is asked only when one of these files has changed.
$(STAMP): pyproject.toml uv.lock requirements/uv.txt
	@new_enough() { "$$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }; \
	if new_enough "$(BIN)/python" && "$(BIN)/python" -m pip --version >/dev/null 2>&1; then exit 0; fi; \
	python="$(PYTHON)"; \
	if [ -z "$$python" ]; then python=$$(sh scripts/choose_python.sh); fi; \
	if [ -z "$$python" ]; then \
	  echo "No Python >= 3.11 that can make environments was found. Install one (on Debian and Ubuntu:" \
	    "apt-get install python3-venv), or name it: make PYTHON=/path/to/python3" >&2; exit 1; \
	elif ! new_enough "$$python"; then \
	  echo "$$python is not a Python >= 3.11. Name another: make PYTHON=/path/to/python3" >&2; exit 1; \
	fi; \
	echo "Making the environment $(VENV) with $$python"; \
	clear=; if [ -f "$(VENV)/pyvenv.cfg" ] && ! new_enough "$(BIN)/python"; then clear=--clear; fi; \
	if ! "$$python" -m venv $$clear "$(VENV)"; then \
	  echo "$$python cannot make environments. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; \
	fi
	@"$(BIN)/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
	  --requirement requirements/uv.txt
	@# Compiled once: where Python must not write bytecode itself, each start of a process would compile 900 modules.
	@"$(BIN)/uv" sync --quiet --frozen --all-extras --compile-bytecode --python "$(BIN)/python"
	@"$(BIN)/python" -m compileall -q src
	@touch $@

.PHONY: system-packages
system-packages: ## Install nginx and wrk, which `make bench` measures with (apt, as root).
	@if command -v nginx >/dev/null && command -v wrk >/dev/null; then \
	  echo "nginx and wrk are installed."; \
	elif ! command -v apt-get >/dev/null; then \
	  echo "There is no apt-get here. Install nginx and wrk with this system's package manager." >&2; exit 1; \
	elif [ "$$(id -u)" != 0 ]; then \
	  echo "This needs root: sudo make system-packages" >&2; exit 1; \
	else \
	  apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends nginx wrk; \
	fi

.PHONY: browser
browser: ## Install a browser, which a test opens reports in (apt, as root).
	@for name in chromium-headless-shell chrome-headless-shell chromium chromium-browser google-chrome; do \
	  if command -v $$name >/dev/null; then echo "$$name is installed."; exit 0; fi; \
	done; \
	if ! command -v apt-get >/dev/null; then \
	  echo "There is no apt-get here. Install Chromium with this system's package manager." >&2; exit 1; \
	elif [ "$$(id -u)" != 0 ]; then \
	  echo "This needs root: sudo make browser" >&2; exit 1; \
	else \
	  apt-get update --quiet=2 --option Acquire::Retries=3 && \
	  DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes \
	    --no-install-recommends --option Acquire::Retries=3 chromium-headless-shell; \
	fi

.PHONY: clean
clean: ## Remove the environment and the caches; data (.podium) and models (.models) stay.
	rm -rf "$(VENV)" .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find . -path ./.git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
