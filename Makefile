# What one does with this repository. `make` alone lists it.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ROOMS := codecs models kernels
SAMPLE := corpora/time-machine.txt

.PHONY: help demo test lint types view install kernels golden bench benchmarks clean

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r name text; \
	do printf '  %-10s %s\n' "$$name" "$$text"; done

# The environment is made once, and again when the files that describe it change.
$(VENV)/.ready: pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "lmc needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig as s; \
		sys.exit(not os.path.exists(s.get_path("include") + "/Python.h"))' || \
		{ echo "Python's headers are missing: apt install python3-dev"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q 'setuptools>=80' 'pybind11>=2.13'
	$(BIN)/python -m pip install -q --no-build-isolation -e .
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	$(BIN)/python -m pip install -q --no-build-isolation -e '.[dev]'
	@touch $@

install: $(VENV)/.ready-dev ## Make .venv with lmc and the tools to work on it (C++: make kernels)

demo: $(VENV)/.ready kernels ## Install, compress a book, restore it, compare (MODEL=1: with a larger model)
	@BIN=$(BIN) MODEL='$(MODEL)' sh corpora/demo.sh $(SAMPLE)

test: $(VENV)/.ready-dev kernels view ## Lint, check types, run all tests
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python -m mypy tests
	$(BIN)/python -m pytest -q

lint: $(VENV)/.ready-dev ## Lint and check the formatting
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

types: $(VENV)/.ready-dev view ## Check the types of the package and its tests
	$(BIN)/python -m mypy
	$(BIN)/python -m mypy tests

# The checkers cannot follow the package-dir mapping; they read this tree of links.
view: ## Make build/view, where type checkers find the package
	@rm -rf build/view && mkdir -p build/view/lmc
	@ln -s $(addprefix $(CURDIR)/,$(filter-out %/__pycache__,$(wildcard lmc/*)) $(ROOMS)) build/view/lmc/

kernels: $(VENV)/.ready ## Rebuild the C++ kernels in place, if they changed
	@$(BIN)/python setup.py -q build_ext --inplace

golden: $(VENV)/.ready-dev ## Write the golden files of this version (those of releases stay)
	$(BIN)/python tests/golden/make.py

$(VENV)/.ready-bench: $(VENV)/.ready
	$(BIN)/python -m pip install -q --no-build-isolation -e '.[bench]'
	@touch $@

bench: $(VENV)/.ready-bench kernels ## Measure lmc among other compressors (FILES=… for your own)
	@mkdir -p build
	$(BIN)/lmc bench --html build/bench.html $(or $(FILES),$(SAMPLE))

benchmarks: $(VENV)/.ready kernels ## Write docs/benchmarks.md and the README's tables from corpora/results
	$(BIN)/python corpora/tables.py

clean: ## Remove what was built (not .venv)
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find lmc $(ROOMS) tests corpora -name __pycache__ -prune -exec rm -rf {} +
	rm -f kernels/*.so
