# Every target sets up what it needs in .venv: with uv where it is installed, else with venv and pip.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
UV     := $(shell command -v uv 2>/dev/null)
JOBS   ?= 2

export UV_PYTHON_DOWNLOADS := never
export UV_NO_CONFIG := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup run test check fix docs mutants bench bench-chaos claude-code constraints clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## make .venv with everything that the other targets need

$(READY): pyproject.toml requirements/dev.txt
ifdef UV
	uv venv --quiet --allow-existing --python $(PYTHON) $(VENV)
	uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	uv pip install --quiet --python $(BIN)/python --no-build-isolation --no-deps -e .
else
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps -e .
endif
	@touch $@

run: $(READY)  ## start the gateway on 127.0.0.1:8080, with simulated providers where no keys are set
	@exec $(BIN)/holdfast serve $(ARGS)

test: $(READY)  ## every test but the long ones (HYPOTHESIS_PROFILE=ci in CI)
	$(BIN)/python -m pytest -n $(JOBS) $(ARGS)

check: $(READY)  ## format, lint, types, imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(READY)  ## format, and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(READY)  ## write the tables in docs/ from the code
	$(BIN)/python -m docs.generate

mutants: $(READY)  ## take each guard out in turn: the test that it names must fail
	$(BIN)/python -m tests.mutants $(ARGS)

bench: $(READY)  ## measure speed against going direct, nginx and the bare stack; writes benchmarks/results/
	@command -v nginx >/dev/null || test -x /usr/sbin/nginx || test "$$(id -u)" != 0 || \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq nginx-light >/dev/null; }
	$(BIN)/python -m benchmarks.run $(ARGS)
	$(BIN)/python -m benchmarks.micro

bench-chaos: $(READY)  ## measure how fast the chaos provider answers; writes benchmarks/results/chaos.md
	$(BIN)/python -m benchmarks.chaos $(ARGS)

claude-code: $(READY)  ## run the real Claude Code (from npm, into a temporary folder) through the gateway, cut from the network
	$(BIN)/python -m tests.e2e.claude_code $(ARGS)

constraints:  ## pin the newest versions again (needs uv)
	uv pip compile pyproject.toml --group dev --extra gateway --extra chaos --universal --python-version 3.11 --upgrade \
	  --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet -o requirements/dev.txt

clean:  ## remove .venv and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
