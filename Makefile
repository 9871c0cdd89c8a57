# Everything runs from .venv, which the first target that needs it creates. To use another Python:
#     make clean && make PYTHON=python3.13 test
PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin/python
BENCH  ?= $(RUN)
PIP    := $(RUN) -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.NOTPARALLEL:
.PHONY: help demo test lint format bench clean

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /    make \1	/p' Makefile

demo: $(VENV)/.with-examples ## Train a network on handwritten digits, from nothing but Python
	$(RUN) examples/digits.py

test: $(VENV)/.with-test ## Run the tests on all cores; ARGS="-k name" goes to pytest
	$(RUN) -m pytest -n auto $(ARGS)

lint: $(VENV)/.with-dev ## Check style, formatting and types
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(RUN) -m mypy

format: $(VENV)/.with-dev ## Rewrite the code in the house's format
	$(RUN) -m ruff check --select I --fix
	$(RUN) -m ruff format

bench: $(VENV)/.with-examples ## Run every script in benchmarks/, with the peers that BENCH (a Python) has
	@for script in benchmarks/[a-z]*.py; do echo "== $$script"; \
	    $(BENCH) "$$script" || echo "== $$script failed"; done

clean: ## Remove .venv and all that was built
	rm -rf $(VENV) build dist graphjit.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp .with-EXTRA says that this project, editable, and its extra EXTRA are in the environment.
$(VENV)/.with-%: pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit("GraphJIT needs Python 3.11 or newer, and $(PYTHON) is " \
	    + sys.version.split()[0] + ". Name another: make PYTHON=python3.13" \
	    if sys.version_info < (3, 11) else 0)'
	@echo "Installing GraphJIT with its extra '$*' into $(VENV) ..."
	@"$(PYTHON)" -m venv $(VENV)
	@$(PIP) setuptools
	@$(PIP) --no-build-isolation --editable '.[$*]'
	@touch $@
