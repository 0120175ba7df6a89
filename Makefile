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
.PHONY: help setup servers run test stress check fix docs mutants simulate simulate-replicas conservation crashtest bench bench-chaos tokens claude-code constraints clean

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

# Debian's packages that tests start servers from: installed where they are missing and this may.
servers:
	@for each in redis-server:redis-server nginx:nginx-light ip:iproute2 docker-compose:docker-compose systemd-analyze:systemd; do \
	  PATH="$$PATH:/usr/sbin:/sbin" command -v $${each%%:*} >/dev/null || missing="$$missing $${each##*:}"; done; \
	test -z "$$missing" || { test "$$(id -u)" = 0 || { echo "please install:$$missing" >&2; exit 1; }; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; }

test: $(READY) servers  ## every test but the long ones (HYPOTHESIS_PROFILE=thorough: ten times the examples)
	$(BIN)/python -m pytest -n $(JOBS) $(ARGS)

stress: $(READY)  ## rows through the library while the provider fails: the long tests (STRESS_SEED=… for other faults)
	$(BIN)/python -m pytest -m stress tests/stress $(ARGS)

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

mutants: $(READY) servers  ## take each guard out in turn: the test that it names must fail (ARGS="--json", "--sample 8", words of names)
	$(BIN)/python -m tests.mutants $(ARGS)

simulate: $(READY)  ## live through HOURS=1000 of failing worlds in virtual time (SEED=0, JOBS=2)
	$(BIN)/python -m tests.simulation --hours $(or $(HOURS),10) --seed $(or $(SEED),0) --jobs $(JOBS) $(ARGS)

simulate-replicas: $(READY)  ## the same with several processes on one database and one Redis: HOURS=10 (SEED=0, JOBS=2)
	$(BIN)/python -m tests.simulation.replicas --hours $(or $(HOURS),10) --seed $(or $(SEED),0) --jobs $(JOBS) $(ARGS)

conservation: $(READY)  ## N=10000 requests with every fault that costs: is what was billed what ledger, budgets and counters say? (SEED=0)
	$(BIN)/python -m tests.e2e.conservation --requests $(or $(N),10000) --seed $(or $(SEED),0) $(ARGS)

crashtest: $(READY)  ## kill -9 at N=1000 places, restart, compare callers, provider and ledger; writes docs/crashtest.md (SEED=0, LEDGER=sqlite)
	$(BIN)/python -m tests.crash --cycles $(or $(N),1000) --seed $(or $(SEED),0) --jobs $(JOBS) --ledger $(or $(LEDGER),sqlite) --report $(ARGS)

bench: $(READY) servers  ## measure speed against going direct, nginx and the bare stack, and several processes against one; writes benchmarks/results/
	$(BIN)/python -m benchmarks.run $(ARGS)
	$(BIN)/python -m benchmarks.processes
	$(BIN)/python -m benchmarks.micro

bench-chaos: $(READY)  ## measure how fast the chaos provider answers; writes benchmarks/results/chaos.md
	$(BIN)/python -m benchmarks.chaos $(ARGS)

tokens: $(READY)  ## count the recorded requests and compare with their bills; writes benchmarks/results/tokens.md
	$(BIN)/python -m benchmarks.tokens

claude-code: $(READY)  ## run the real Claude Code (from npm, into a temporary folder) through the gateway, cut from the network
	$(BIN)/python -m tests.e2e.claude_code $(ARGS)

constraints:  ## pin the newest versions again (needs uv)
	$(PIN) pyproject.toml --group dev --extra gateway --extra chaos --extra cluster -o requirements/dev.txt
	$(PIN) pyproject.toml --extra gateway --extra cluster -o requirements/runtime.txt
	echo 'hatchling>=1.27' | $(PIN) - -o requirements/build.txt

PIN := uv pip compile --universal --python-version 3.11 --upgrade --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet

clean:  ## remove .venv and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
