# `make help` lists the targets. Python 3.11 and make are enough; uv is used when it is there (`make UV= ...` uses pip).
PYTHON ?=
UV ?= uv
PORT ?= 8000
JOBS ?= 2
TESTS ?=
export UV

VENV := .venv
BIN := $(VENV)/bin
DEPENDENCIES := $(VENV)/.dependencies
PACKAGES := $(VENV)/.packages
FIND_PYTHON = PYTHON="$(PYTHON)" sh tools/find-python
CHECKED := pywatt_core $(wildcard plugins/*/pywatt_*) tools benchmarks examples conftest.py hatch_build.py

.DEFAULT_GOAL := help
.PHONY: help install run test check lint types guards bench wheels docs constraints clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

$(DEPENDENCIES): constraints.txt
	@python=$$($(FIND_PYTHON)) && "$$python" -m tools.environment dependencies && touch $@

$(PACKAGES): $(DEPENDENCIES) pyproject.toml $(wildcard plugins/*/pyproject.toml)
	@$(BIN)/python -m tools.environment packages && touch $@

install: $(PACKAGES) ## make .venv and install everything into it; the targets below do that by themselves

run: $(PACKAGES) ## run examples/guestbook behind http://127.0.0.1:8000 until Ctrl-C; PORT=9000 for another port
	@exec $(BIN)/pywatt up --config examples/guestbook/pywatt.toml --port $(PORT)

test: $(PACKAGES) ## run all tests, after fetching the servers that they need; TESTS=path for some of them
	@$(BIN)/python -m tools.test_servers fetch
	@$(BIN)/python -m pytest -n $(JOBS) $(TESTS)

check: lint types guards ## lint, format, types and the guards

lint: $(PACKAGES)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(PACKAGES)
	$(BIN)/mypy $(CHECKED)

guards: $(PACKAGES)
	$(BIN)/python -m pytest -q -m "not index" tests/guards

bench: $(PACKAGES) ## run all benchmarks and print one table
	@$(BIN)/python -m tools.test_servers fetch nats-server nginx postgres redis-server wrk
	@$(BIN)/python benchmarks/run.py

wheels: $(PACKAGES) ## build the wheel and the sdist of every distribution into dist/
	@$(BIN)/python -m tools.wheels dist

docs: $(PACKAGES) ## render docs/ into site/ and check every link
	@$(BIN)/python -m tools.docs site

constraints: ## resolve constraints.txt anew; UPGRADE=1 for the newest versions
	@python=$$($(FIND_PYTHON)) && "$$python" -m tools.lock $(if $(UPGRADE),--upgrade)

clean: ## remove .venv and everything that was built
	rm -rf $(VENV) dist build site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
