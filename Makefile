# make demo   the main job on real data, from nothing
# make demo-delivery   a good release and four bad ones meet live traffic
# make demo-loop   the loop that heals: an electricity market replayed, drift, retrains, canaries (6 minutes)
# make test   the tests
# make check  lint, types, layers, tests
# make soak   the long versions of the crash, chaos and statistics tests (hours)
# Each sets up what it needs in .venv: Python 3.10-3.12 and make are enough.

PYTHON := $(shell for p in python3.12 python3.11 python3.10 python3; do \
  $$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null && { command -v $$p; break; }; done)
VENV ?= .venv
EXTRAS ?= all,dev
CONSTRAINTS ?= .ci/constraints.txt
TESTS ?= tests
BIN := $(VENV)/bin
# Tests wait for processes about half of their time. Their bytecode is kept: each worker reads all files, and so does each
# process that a test starts.
WORKERS := $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))
export UV_SYSTEM_CERTS := 1

.PHONY: demo demo-delivery demo-loop test check lint types layers soak bench clean

demo: $(VENV)/.ready
	@PATH="$(abspath $(BIN)):$$PATH" sh docs/demo.sh

demo-delivery: $(VENV)/.ready
	@$(BIN)/python docs/demo_delivery.py

demo-loop: $(VENV)/.ready
	@$(BIN)/python docs/demo_loop.py

test: $(VENV)/.ready
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(TESTS)

check: lint types layers test

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.ready
	$(BIN)/mypy

layers: $(VENV)/.ready
	$(BIN)/lint-imports

soak: $(VENV)/.ready
	ENGINE_SOAK=1 $(BIN)/python -m pytest -n auto tests

bench: $(VENV)/.ready
	$(BIN)/python -m bench

$(VENV)/.ready: pyproject.toml $(CONSTRAINTS)
	@test -n "$(PYTHON)" || { echo "engine needs Python 3.10, 3.11 or 3.12 on the PATH" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c $(CONSTRAINTS) -e '.[$(EXTRAS)]'
	$(BIN)/python -m compileall -q engine
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
