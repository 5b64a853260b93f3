# The entrance: people and CI call these and nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.PHONY: run test lint fmt bench map docs clean setup chaos mutants bench-ingest bench-engine bench-mini \
	bench-longform bench-archive bench-service bench-mutations bench-precision bench-switches bench-engine-gpu

run: $(VENV)/.stamp-run
	$(BIN)/earwitness demo

JOBS ?= 2 # processes that test side by side

test: $(VENV)/.stamp-dev
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

lint: $(VENV)/.stamp-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

fmt: $(VENV)/.stamp-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

SEED ?= $(shell date +%s)
DURATION ?= 110

chaos: $(VENV)/.stamp-dev # harms a service on each database for DURATION seconds; prints faults and broken promises
	PYTHONPATH=.:tests $(BIN)/python -m chaos.run --seed $(SEED) --duration $(DURATION)

mutants: $(VENV)/.stamp-dev # takes one guard away at a time: each has to turn a test red
	PYTHONPATH=.:tests $(BIN)/python -m chaos.mutants

bench: bench-ingest bench-engine bench-longform

bench-ingest: $(VENV)/.stamp-dev
	$(BIN)/python -m bench.ingest

bench-engine: $(VENV)/.stamp-dev # with both cores idle: everything is timed
	$(BIN)/python -m bench.engine

bench-mini: $(VENV)/.stamp-dev # needs espeak-ng, which speaks the held-out clips
	$(BIN)/python -m bench.mini

bench-longform: $(VENV)/.stamp-dev # needs espeak-ng, which speaks the recordings
	$(BIN)/python -m bench.longform

bench-archive: $(VENV)/.stamp-dev # takes minutes: a 10-hour recording is planned for real
	$(BIN)/python -m bench.archive

bench-service: $(VENV)/.stamp-dev # with both cores idle; starts PostgreSQL and Redis from wheels
	PYTHONPATH=.:tests $(BIN)/python -m bench.service $(ARGS)

bench-mutations: $(VENV)/.stamp-dev # 300 damaged recordings, each through all that a CPU worker does
	$(BIN)/python -m bench.mutations

bench-precision: $(VENV)/.stamp-dev # needs espeak-ng, which speaks the clips
	$(BIN)/python -m bench.precision

bench-switches: $(VENV)/.stamp-dev # with both cores idle: each switch of the engine beside the default
	$(BIN)/python -m bench.switches

bench-engine-gpu: $(VENV)/.stamp-dev # needs a GPU of 80 GB; under 8 minutes
	$(BIN)/python -m bench.engine_gpu $(ARGS)

map: # what each module owns, from its first sentence
	@$(PYTHON) -m tools.map

docs: $(VENV)/.stamp-dev # what the documentation takes from the code: the table of tasks
	$(BIN)/python -m tools.tasks

setup: $(VENV)/.stamp-dev

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Earwitness needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 run"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.stamp-run: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e '.[gpu]'
	@touch $@

$(VENV)/.stamp-dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.stamp-run

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
