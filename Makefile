# Two commands do everything on a fresh machine: `make demo` and `make test`. They need Python 3.11 to 3.13 and make.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: help install demo exports server test coverage test-full test-apps test-server release-check test-gpu check format docs lock clean

help: ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "make %-13s %s\n", $$1, $$2 }'

install: $(INSTALLED) ## Install into .venv all that the commands need, without training anything

demo: $(INSTALLED) ## Train, export and compare a dense, a conv and a hybrid classifier on handwritten digits
	@$(BIN)/zoo run mlp-small conv-small lenet5 --data digits --exports mlruns/exports

exports: $(INSTALLED) ## Train, evaluate and export all models again from their recipes: hours
	$(BIN)/zoo run --all --data fashion-mnist

server: $(INSTALLED) ## Start a tracking server of one's own: MLflow with accounts, PostgreSQL, SeaweedFS; on this machine alone
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --editable '.[server]'
	$(BIN)/python examples/server/server.py

WORKERS := -n auto --dist loadfile --no-loadscope-reorder  # how many is in tests/conftest.py: 2 GB for each
# Where no bytecode is kept, each worker takes five seconds to compile the tests anew.
test coverage test-full: export PYTHONDONTWRITEBYTECODE =
test: check ## Check the code and run the tests that take minutes at most
	$(BIN)/pytest $(WORKERS)

coverage: $(INSTALLED) ## The same tests, and which branches of zoo and pipelines they take: it fails below the floor in pyproject.toml
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(WORKERS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

test-full: check ## The same, and the slow tests
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --editable '.[notebook]'
	$(BIN)/pytest $(WORKERS) -m "not gpu and not apps"

test-apps: $(INSTALLED) ## Run the apps in examples/ for real: needs Node.js with npm, Chromium, and the network
	$(BIN)/pytest -m apps tests/apps

test-server: $(INSTALLED) ## Start that server for real; train, kill, promote, serve and browse: needs PostgreSQL and Chromium
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --editable '.[server]'
	$(BIN)/pytest -m apps tests/server

release-check: check docs ## Check what a release needs: both distributions, each installed Python, older exports and stores
	$(BIN)/pip install --quiet --disable-pip-version-check 'twine>=6'
	$(BIN)/pytest -m apps tests/release
	$(BIN)/pytest -m slow -k older_schema tests/test_upkeep.py

EXTRA ?= gpu
test-gpu: ## Run the tests of accelerators in .venv-gpu, without TensorFlow (EXTRA=openvino: in .venv-openvino)
	$(PYTHON) -m venv .venv-$(EXTRA)
	.venv-$(EXTRA)/bin/pip install --quiet --disable-pip-version-check '.[$(EXTRA)]' 'pytest>=8.3' 'pytest-timeout>=2.3'
	.venv-$(EXTRA)/bin/python -m pytest -m gpu tests/gpu

check: $(INSTALLED) ## Format, lint, types, and imports that run one way
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(INSTALLED) ## Build the documentation site, with its search and every command, into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "read it: $(BIN)/python -m http.server --bind 127.0.0.1 --directory build/site, then http://127.0.0.1:8000"

lock: ## Write requirements.lock anew from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --extra cpu --extra train --extra imagenet --extra tfds --extra hf \
		--extra sweep --extra parquet --extra docs --extra dev \
		--universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --upgrade --output-file requirements.lock

clean: ## Remove the environment and what tools left behind; runs and exports stay
	rm -rf .venv .venv-* build dist *.egg-info .coverage* .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "Python 3.11 to 3.13 is needed (TensorFlow has no other): make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	@echo "installing into .venv: about two minutes, 3.3 GB on disk"
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
