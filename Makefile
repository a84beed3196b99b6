# What people and CI call; each target says what it is for.
PYTHON ?= python3
MINUTES ?= 5
VENV := .venv
BIN := $(VENV)/bin
# Else every worker that a test starts would compile the project anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup demo dev test quick hardening lint bench bench-core bench-kept chaos mutants image manifests sbom lock dist clean help

setup: $(VENV)/installed  ## builds .venv; the command is then .venv/bin/robot-orchestrator

# Nothing is resolved here: the lock is complete, and a test says so.
$(VENV)/installed: requirements-test.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; say which: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-test.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/pip check
	touch $@

demo: setup  ## about 25 jobs with every fate, on a real Kafka, checked at the end
	$(BIN)/robot-orchestrator demo

dev: setup  ## a broker, a simulated robot, a worker, a console and a live table of jobs
	$(BIN)/robot-orchestrator dev

# Several processes, which share the tests out among themselves as tests/conftest.py says.
PYTEST := $(BIN)/pytest -n auto --no-loadscope-reorder

test: setup  ## everything, on a real Kafka
	$(PYTEST)

quick: setup  ## what needs no Kafka, with fewer simulated worlds: the rules, the engine, the simulation
	SIMULATION_SEEDS=50 $(PYTEST) -m "not thorough" tests/core tests/unit tests/simulation

hardening: setup  ## both halves of tests/hardening: what the patches mend, and that stock Faust and aiokafka still need it
	$(PYTEST) -m "stock or not stock" tests/hardening tests/security/test_token_login.py

lint: setup  ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup  ## throughput, latency, CPU and memory, beside a bare loop that does the same jobs, as a table
	$(BIN)/python -m tests.benchmarks

bench-kept: setup  ## the same, kept as docs/bench.json and, the burst, docs/bench.svg
	$(BIN)/python -m tests.benchmarks --json docs/bench.json --svg docs/bench.svg

bench-core: setup  ## instructions and memory a job in the pure core, counted without a clock, beside those kept
	$(BIN)/python -m tests.benchmarks.core

chaos: setup  ## keeps mixing faults on a real Kafka: make chaos MINUTES=30
	$(BIN)/python -m tests.chaos --minutes $(MINUTES)

mutants: setup  ## changes the engine, one thing at a time, and lists what the fast tests do not notice
	$(BIN)/python -m tests.mutants

image: setup  ## builds deploy/Dockerfile without an engine of containers, and runs worker, bridge and console from it
	$(BIN)/pytest -n0 -m image tests/image

manifests: setup  ## renders deploy/manifests from the chart
	$(BIN)/python -m tests.deploy

sbom: setup  ## writes what the production locks have into build, as CycloneDX bills of materials
	$(BIN)/python -m tests.install.sbom build

LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
	--no-annotate --quiet

lock:  ## renews the locks (needs uv): what production installs, of worker, bridge and console, that with everything for tests, and those of the image
	$(LOCK) pyproject.toml --upgrade --extra test --output-file requirements-test.lock
	$(LOCK) pyproject.toml --upgrade --extra bridge --extra console --constraints requirements-test.lock --output-file requirements.lock
	$(LOCK) pyproject.toml --upgrade --extra bridge --extra console --extra otel --extra msk --constraints requirements-test.lock --output-file deploy/all-extras.lock
	echo hatchling | $(LOCK) - --upgrade --constraints requirements-test.lock --output-file deploy/build.lock

dist: setup  ## the wheel and the archive of sources of this version, in dist/
	$(BIN)/python -m hatchling build -d dist

help:  ## says what each target does
	@sed -n 's/^\([a-z-]*\):.*## /\1@/p' $(MAKEFILE_LIST) | while IFS=@ read -r target text; do printf '%-12s %s\n' "$$target" "$$text"; done

clean:  ## removes what setup, dist and sbom built
	rm -rf $(VENV) build dist
