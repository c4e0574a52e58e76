# Everything a developer runs; `.ci/run` calls the same targets. Needs Python 3.11 or newer and make.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
PYTEST_ARGS ?=
# Where `make up` listens on 127.0.0.1: Prefect's pages, and the sandbox exchange.
PORT ?= 4200
EXCHANGE_PORT ?= 8321

.DEFAULT_GOAL := help
.PHONY: help setup demo up down deploy browser test lint types fmt generate bench compare campaign lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Make .venv with everything in it

# uv is only quicker here: `pip install --no-deps --require-hashes -r requirements/dev.txt` does the same.
$(READY): requirements/uv.txt requirements/dev.txt pyproject.toml
	@echo "Setting up .venv (once)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/uv.txt
	@$(BIN)/uv pip install --quiet --no-deps --require-hashes -r requirements/dev.txt
	@$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY) ## Run the whole path on this machine: exchange, flows, database, queries
	@$(BIN)/python -m flows.demo

up: $(READY) ## Start database, sandbox exchange, Prefect with its pages, worker and schedules, to go on in the background
	@$(BIN)/python -m flows.local up --port $(PORT) --exchange-port $(EXCHANGE_PORT)

down: $(READY) ## Stop what `make up` started; what was stored stays
	@$(BIN)/python -m flows.local down

deploy: $(READY) ## Put deployments, limits and automations on the Prefect server of PREFECT_API_URL; safe to repeat
	@$(BIN)/python -m flows.deploy

# Two files at a time, each process with a database of its own: tests wait more than they compute. In our order.
test: $(READY) ## Run the test suite on a real TimescaleDB and real ccxt over HTTP
	@$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

browser: ## Install Chromium, which a test looks at Prefect's pages with, where this is Debian and we are root
	@command -v chromium >/dev/null || ( \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends chromium \
	) >/dev/null 2>&1 || echo "No Chromium here, and it could not be installed: tests in a browser are skipped"

lint: $(READY) ## Check format, style and import layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports

types: $(READY) ## Check types
	@$(BIN)/pyright

fmt: $(READY) ## Format and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

generate: $(READY) ## Write the asynchronous MarketData anew, from the synchronous one
	@$(BIN)/python -m tapehouse.query.twin

bench: $(READY) ## Measure, each figure against a baseline of the same run (BENCH_ARGS="--url ..." for a server of yours)
	@$(BIN)/python -m benchmarks $(BENCH_ARGS)

compare: .venv-compare/.ready .venv-arcticdb/.ready ## Install the libraries that `make bench` compares reading with

# Apart from .venv: nothing of ours needs them, and ArcticDB wants another pandas.
.venv-%/.ready: requirements/%.txt | $(READY)
	@$(PYTHON) -m venv --clear --without-pip .venv-$*
	@$(BIN)/uv pip install --quiet --python .venv-$*/bin/python --no-deps --require-hashes -r $<
	@touch $@

campaign: $(READY) ## Run the long fault campaigns in full
	@TAPEHOUSE_CAMPAIGN=full $(BIN)/pytest -m campaign --timeout 7200 --log-cli-level INFO $(PYTEST_ARGS)

COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-strip-extras --no-emit-index-url --custom-compile-command "make lock"

lock: $(READY) ## Pin all requirements anew, with hashes
	@$(COMPILE) --upgrade --all-extras --group dev pyproject.toml -o requirements/dev.txt
	@$(COMPILE) --upgrade --extra flows --extra metrics --extra parquet pyproject.toml -o requirements/runtime.txt
	@$(COMPILE) --upgrade --group compare -o requirements/compare.txt
	@$(COMPILE) --upgrade --group arcticdb -o requirements/arcticdb.txt
	@echo uv | $(COMPILE) - -c requirements/dev.txt -o requirements/uv.txt

clean: ## Remove what the other targets made
	@rm -rf .venv .venv-compare .venv-arcticdb .tapehouse .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist benchmarks/results.json
