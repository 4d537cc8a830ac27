# Everything starts from `python3` and `make`: each target sets up .venv first when it is missing or stale.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help setup run test lint load bench soak torture proto clean

help:
	@echo 'make run    set up, and run the exchange with a live demo market'
	@echo 'make test   set up, and run every test'
	@echo 'make lint   ruff, mypy --strict, import-linter'
	@echo 'make load   100 Locust users for a minute against a fresh exchange'
	@echo 'make bench  time the engine, the Session stream, and the transports beside others'
	@echo 'make soak   ten minutes of calls, streams, cancels and reconnects, with every answer checked'
	@echo 'make torture  thousands of simulated lives with crashes and failing disks, and 200 kills of a real engine'
	@echo 'make proto  generate the gRPC stubs again'
	@echo 'make clean  remove what set-up made (the data folder stays)'

setup: $(READY)

$(READY): pyproject.toml constraints.txt protos/generate.py $(wildcard protos/outcry/v1/*.proto)
	@$(PYTHON) -c 'import sys; sys.exit("Outcry needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	@echo 'Setting up .venv (once; a minute or so)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@PIP_CONSTRAINT='$(CURDIR)/constraints.txt' $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

run: setup
	@$(BIN)/outcry up --demo

test: setup
	@$(BIN)/pytest

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

load: setup
	@$(BIN)/python -m load

bench: setup
	@$(BIN)/python -m load.bench

soak: setup
	@$(BIN)/python -m load.soak

torture: setup
	@$(BIN)/python -m tests.simulation --seeds 5000
	@$(BIN)/python -m tests.experiments.kills --kills 200
	@$(BIN)/python -m tests.experiments.kills --kills 200 --forgetful

proto: setup
	@$(BIN)/python protos/generate.py

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -f outcry/v1/*_pb2.py outcry/v1/*_pb2.pyi outcry/v1/*_pb2_grpc.py
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
