# What one does with this repository. `make` alone lists it.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ROOMS := codecs models kernels
SAMPLE := corpora/time-machine.txt

.PHONY: help demo test lint types view install kernels golden bench clean

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r name text; \
	do printf '  %-10s %s\n' "$$name" "$$text"; done

# The environment is made once; touch pyproject.toml or setup.py to have it made up to date.
$(VENV)/.ready: pyproject.toml setup.py
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -U pip 'setuptools>=80'
	$(BIN)/python -m pip install -q -e '.$(EXTRAS)'
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	$(BIN)/python -m pip install -q -e '.[dev]'
	@touch $@

install: $(VENV)/.ready-dev ## Make .venv with lmc and the tools to work on it (C++: make kernels)

demo: $(VENV)/.ready kernels ## Install, compress a book, restore it, compare (MODEL=1: with a model)
	@BIN=$(BIN) MODEL='$(MODEL)' sh corpora/demo.sh $(SAMPLE)

test: $(VENV)/.ready-dev kernels view ## Lint, check types, run all tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tests
	$(BIN)/python -m pytest -q

lint: $(VENV)/.ready-dev ## Lint and check the formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.ready-dev view ## Check the types of the package and its tests
	$(BIN)/mypy
	$(BIN)/mypy tests

# The checkers cannot follow the package-dir mapping; they read this tree of links.
view: ## Make build/view, where type checkers find the package
	@rm -rf build/view && mkdir -p build/view/lmc
	@ln -s $(addprefix $(CURDIR)/,$(filter-out %/__pycache__,$(wildcard lmc/*)) $(ROOMS)) build/view/lmc/

kernels: $(VENV)/.ready ## Rebuild the C++ kernels in place, if they changed
	@$(BIN)/python -m pip install -q pybind11
	@$(BIN)/python setup.py -q build_ext --inplace

golden: $(VENV)/.ready-dev ## Write the golden files of this version (those of releases stay)
	$(BIN)/python tests/golden/make.py

bench: $(VENV)/.ready kernels ## Sizes and times beside gzip, bzip2 and xz (FILES=… for your own)
	$(BIN)/python corpora/bench.py $(or $(FILES),$(SAMPLE))

clean: ## Remove what was built (not .venv)
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find lmc $(ROOMS) tests corpora -name __pycache__ -prune -exec rm -rf {} +
	rm -f kernels/*.so
