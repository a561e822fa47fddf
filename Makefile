# All targets use .venv. The first one creates it. Requirements: python3 >= 3.11 and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONSTRAINTS ?= constraints.txt
IN_PARALLEL := --numprocesses auto --dist loadgroup

.PHONY: help run test coverage lint docs format flower-versions clean
help:
	@echo "make run      compare 3 strategies without attack and under 2 attacks"
	@echo "make test     check lint, types and import contracts, build the documentation, run all tests"
	@echo "make coverage run all tests, and show the lines that no test runs"
	@echo "make lint     check lint, types and import contracts"
	@echo "make docs     build the documentation in build/docs"
	@echo "make format   fix lint and format, write fedpoison/cli/catalogue.json"
	@echo "make flower-versions   test fedpoison.flower with the oldest and the newest Flower"
	@echo "make clean    remove .venv, caches and build results"

$(VENV)/installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fedpoison needs Python 3.11 or newer, found " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) --editable . --group dev
	@touch $@

run: $(VENV)/installed
	$(BIN)/fedpoison compare --clients 10 --malicious 0.3 --rounds 6 --epochs 2 --batch-size 8 \
	  --train-samples 2000 --test-samples 2000 --attacks none,label-flip,scaled-update --strategies fedavg,multi-krum,median

test: lint docs
	$(BIN)/python -m pytest $(IN_PARALLEL)

coverage: $(VENV)/installed
	$(BIN)/python -m pytest $(IN_PARALLEL) --cov --cov-report=term

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/installed
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --builder html docs build/docs

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python -m fedpoison.cli.describe

flower-versions: $(VENV)/installed
	$(BIN)/python -m experiments.flower_versions

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage dist
