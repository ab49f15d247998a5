# Everything a fresh machine needs: Python 3.11-3.13 with venv and pip, git and make.
#   make demo    the whole job on drawn pedestrians, with a picture at the end
#   make test    the fast tests
#   make check   linter, import boundaries, types, stale documentation
#   make lint-js the linter of the page's modules; needs Node.js and the network once, so it is no part of check
#   make bench   measurements on this machine
#   make dist    a wheel and an sdist in dist/, checked
#   make docs    write docs/cli.md, docs/answers.md, docs/datasets.md, the tables of docs/results.md and the map in docs/architecture.md

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.PHONY: demo test test-all check lint-js bench docs dist install clean

demo: install
	$(BIN)/vpmsearch demo --output demo

test: install
	$(BIN)/python -m pytest -q -n auto

test-all: install
	$(BIN)/python -m pytest -q -n auto -m "not gpu"

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python docs/make_cli.py --check
	$(BIN)/python docs/make_answers.py --check
	$(BIN)/python docs/make_json.py --check
	$(BIN)/python docs/make_datasets.py --check
	$(BIN)/python docs/make_results.py --check
	$(BIN)/python docs/make_architecture.py --check

lint-js:
	npx --yes eslint@10 vpmsearch/web/static

bench: install
	$(BIN)/python benchmarks/extraction.py
	$(BIN)/python benchmarks/search_scale.py --images 10000 100000

docs: install
	$(BIN)/python docs/make_cli.py
	$(BIN)/python docs/make_answers.py
	$(BIN)/python docs/make_json.py
	$(BIN)/python docs/make_datasets.py
	$(BIN)/python docs/make_results.py
	$(BIN)/python docs/make_architecture.py

dist: install
	rm -rf dist
	$(BIN)/python -m hatchling build
	$(BIN)/python deploy/check_dist.py dist

install: $(INSTALLED)

# The stamp is younger than what it was made from, so a second run installs nothing.
$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and 'vpmsearch needs Python 3.11, 3.12 or 3.13: make PYTHON=python3.12')"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $(INSTALLED)

clean:
	rm -rf $(VENV) demo dist runs .mypy_cache .ruff_cache .pytest_cache .hypothesis
