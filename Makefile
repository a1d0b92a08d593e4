# Everything from a bare checkout: only make and a Python of 3.11 or newer are needed.
# The environment is .venv; what was installed into it is remembered beside the lock it came from,
# so a warm start installs nothing. The locks nest (runtime within dev within bench, same
# versions), so one environment serves every target in any order.

SHELL := /bin/sh
.SHELLFLAGS := -eu -c
.DEFAULT_GOAL := help
.PHONY: help run test bench lint format types openapi lock clean runtime-env dev-env bench-env

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input

help: ## Show what there is to do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: runtime-env ## Start the demonstration on http://127.0.0.1:8000 (Ctrl-C stops it)
	@$(HAND_ON_INTERRUPT) exec $(BIN)/casewarden up

test: dev-env ## Run the whole suite
	@exec $(BIN)/pytest $(ARGS)

bench: bench-env ## Measure against the peers; writes bench.json
	@exec $(BIN)/python -m tests.bench $(ARGS)

lint: bench-env ## Check style, formatting, types and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: dev-env ## Format, and repair what can be repaired safely
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

types: bench-env ## Check types only
	$(BIN)/mypy

openapi: runtime-env ## Write the OpenAPI documents again
	@exec $(BIN)/casewarden openapi

clean: ## Remove the environment and every cache; data under .casewarden/ stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build ./*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# make hands SIGTERM on to its child, and a terminal sends Ctrl-C to both; but of a SIGINT sent to
# make alone the child hears nothing, while make waits for it for ever, holding SIGINT no longer.
# So once a second this looks whether make (our parent) neither catches nor ignores SIGINT. Ctrl-C
# ends the sleep, and with it the watch: nobody is interrupted twice. (Without GNU env: no watch.)
HAND_ON_INTERRUPT = (while env --default-signal=INT sleep 1 && kill -0 $$$$; do \
	awk '/^Sig(Ign|Cgt):/ && substr($$2, length($$2)) ~ /[2367abef]/ { held = 1 } END { exit held }' \
	"/proc/$$PPID/status" && kill -INT $$$$ && break; done) </dev/null >/dev/null 2>&1 &

# uv does the resolving, for every platform at once, from wheels only; nothing else uses it.
# bench first: the other two are held to its versions. ARGS=--upgrade moves to newer versions.
LOCK = $(UV) pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	--generate-hashes --only-binary :all: --no-header --group build
UV ?= $(VENV)/lock/bin/uv

lock: runtime-env ## Resolve the dependencies again (ARGS=--upgrade for newer versions)
	@test -x "$(UV)" || command -v "$(UV)" >/dev/null || { $(BIN)/python -m venv $(VENV)/lock && $(VENV)/lock/bin/pip install --quiet uv; }
	$(LOCK) --group dev --group bench $(ARGS) -o requirements/bench.lock
	$(LOCK) --group dev -c requirements/bench.lock --no-annotate -o requirements/dev.lock
	$(LOCK) -c requirements/bench.lock --no-annotate -o requirements/runtime.lock

# One plain line when there is no usable Python: the first of these that is new enough and can
# make environments (Debian leaves that out unless python3-venv is installed).
FIND_PYTHON = for python in "$${PYTHON:-}" python3 python3.13 python3.12 python3.11; do \
	test -n "$$python" || continue; \
	if "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	then found=$$python; break; fi; \
	if test "$$python" = "$${PYTHON:-}"; \
	then echo "casewarden: PYTHON=$$python is not a Python of 3.11 or newer with the venv module." >&2; exit 1; fi; \
	done; \
	if test -z "$${found:-}"; \
	then echo "casewarden: needs Python 3.11 or newer with its venv module (Debian: python3-venv); say where with PYTHON=..." >&2; exit 1; fi

# What an installed environment is known by: where it stands, the lock, and the project file.
# An environment does not survive being moved, nor its Python being replaced: then it is made anew.
LOCKED = { pwd; cat requirements/$$level.lock; }
runtime-env: WITHIN = runtime
dev-env: WITHIN = runtime dev
bench-env: WITHIN = runtime dev bench

runtime-env dev-env bench-env:
	@level=$(@:-env=); \
	if ! { $(BIN)/python -c '' && test "$$(cat $(VENV)/root)" = "$$(pwd)"; } 2>/dev/null; then \
		$(FIND_PYTHON); \
		echo "casewarden: making $(VENV) with $$("$$found" --version)" >&2; \
		"$$found" -m venv --clear $(VENV); pwd > $(VENV)/root; \
	fi; \
	if ! $(LOCKED) | cmp -s - $(VENV)/installed-$$level; then \
		echo "casewarden: installing the $$level dependencies, PostgreSQL's binaries among them; a minute or two, this once" >&2; \
		$(PIP) install --require-hashes --only-binary :all: -r requirements/$$level.lock; \
		for level in $(WITHIN); do $(LOCKED) > $(VENV)/installed-$$level; done; \
	fi; \
	if ! cmp -s pyproject.toml $(VENV)/installed-project; then \
		$(PIP) install --no-deps --no-build-isolation -e .; \
		cp pyproject.toml $(VENV)/installed-project; \
	fi
