# `make help` lists what can be made. Every target sets up what it needs: Python 3.11 or newer and make are enough.
SHELL := /bin/sh
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
# The newest Python that is really there (a version manager's shim may exist and still not run).
FIND_PYTHON := for name in python3.13 python3.12 python3.11 python3 python3.14; do \
	if $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$name; exit; fi; done; \
	echo 'Python 3.11 or newer is needed and none was found. Install one, then run make again.' >&2; exit 1
WORKERS ?= 3
ARGS ?=
export ONCE SEED CUSTOMERS MONTH

.PHONY: help setup demo test bench sandbox shell lint format types floats contracts lock ci clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

setup: ## make .venv with the pinned packages, each checked against its hash
	@python=$$($(FIND_PYTHON)) && $$python -m config.bootstrap

demo: setup ## a month of a whole company, then a site to look at (ONCE=1 ends with the figures; SEED, CUSTOMERS, MONTH)
	@exec $(PYTHON) -m config.demo

test: setup ## all tests against a real PostgreSQL and Valkey (ARGS="tests/ledger -k …", WORKERS=2)
	@exec $(PYTHON) -m pytest -n $(WORKERS) $(ARGS)

bench: setup ## the benchmarks, each as a ratio within one run
	@exec $(PYTHON) -m tests.bench $(ARGS)

sandbox: setup ## the stand-in for Stripe alone; prints its address
	@exec $(PYTHON) -m tests.sandbox --port 0 $(ARGS)

shell: setup ## Django's shell on embedded services whose data stay in .stack/developer
	@exec $(PYTHON) -m config.stack --directory .stack/developer --keep-data -- $(PYTHON) manage.py shell

lint: setup ## style
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .

format: setup ## put the code into its one format
	@$(PYTHON) -m ruff check --fix .
	@$(PYTHON) -m ruff format .

types: setup ## static types
	@$(PYTHON) -m mypy .

floats: setup ## that no float can reach money
	@$(PYTHON) -m tests.no_floats

contracts: setup ## which app may import which
	@.venv/bin/lint-imports

lock: ## pin every package with its hashes (needs uv)
	@for group in '' '--group dev'; do \
		target=requirements$${group:+-dev}.txt; \
		uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
			--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' \
			$$group pyproject.toml -o $$target || exit 1; \
	done

ci: ## what the server runs for each submission
	@.ci/run

clean: ## remove the environment, embedded services' data and caches
	@rm -rf .venv .stack .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis staticfiles
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
