# `make` alone lists what there is.

VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8000
export PORT

# Compiled modules are kept, or each process of the tests would compile all of them again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run demo test test-quick test-long check lint format lock migration translations reference soak bench bench-quick attacks pictures clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

run: $(VENV)/installed ## Serve on http://127.0.0.1:$PORT, on SQLite unless DATABASE_URL says otherwise
	@$(BIN)/flask --app wsgi db upgrade
	@exec $(BIN)/gunicorn -c gunicorn.conf.py --bind 127.0.0.1:$(PORT) wsgi:app

demo: $(VENV)/installed ## Fill an empty database with people and conversations to look at
	@$(BIN)/flask --app wsgi db upgrade
	@$(BIN)/flask --app wsgi demo

# Tests run in one process more than there are processors, since many of them wait.
# Some of them: make test TESTS=tests/accounts
PROCESSORS := $(shell getconf _NPROCESSORS_ONLN)
JOBS ?= $(shell echo $$(($(PROCESSORS) + 1)))
PYTEST = $(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal

test-quick: $(VENV)/installed-dev ## Run the tests that start no server and no browser and compute little
	@$(PYTEST) -m "not server and not long and not slow" $(TESTS)

test: $(VENV)/installed-dev ## Run the tests, but those that are slow by nature
	@$(PYTEST) -m "not long" $(TESTS)

# Each file in one process and in its order: the contract tests count on what those before them did.
# In twice as many processes as there are processors, since most of the time these wait.
test-long: $(VENV)/installed-dev ## Run the tests that are slow by nature
	@$(PYTEST) --dist loadfile --numprocesses $$((2 * $(PROCESSORS))) -m long $(TESTS)

check: lint test test-long ## Run all that CI runs

lint: $(VENV)/installed-dev ## Check format, style and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: $(VENV)/installed-dev ## Put the code into its format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# The extras stay in the locked names: pip, asked for hashes, otherwise prefers the newest pydantic[email]
# there is over the pydantic that is pinned, and stops at its missing hash.
lock: $(VENV)/installed-dev ## Resolve requirements*.in into requirements*.txt, with hashes
	@for name in requirements requirements-s3 requirements-dev; do \
		$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-strip-extras \
			--generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
			$(UPGRADE) --output-file $$name.txt $$name.in || exit; \
	done

migration: $(VENV)/installed-dev ## Write a migration for changed models: make migration m="add a thing"
	@$(BIN)/flask --app wsgi db upgrade
	@$(BIN)/flask --app wsgi db migrate -m "$(m)" --rev-id $$(printf %04d $$(($$(ls migrations/versions/*.py | wc -l) + 1)))

translations: $(VENV)/installed-dev ## Collect sentences from the code, for their Russian translations
	@$(BIN)/pybabel -q extract --no-location --omit-header --sort-output -o messages.pot app
	@$(BIN)/pybabel -q update --no-fuzzy-matching --ignore-pot-creation-date -l ru -w 100 -i messages.pot -d app/translations
	@rm messages.pot

reference: $(VENV)/installed-dev ## Render docs/websocket.md for the page at /api/docs/websocket/
	@$(BIN)/python -m tests.openapi.websocket_page

soak: $(VENV)/installed-dev ## Break things under load for MINUTES, and look whether a message was lost
	@$(BIN)/python -m tests.delivery.soak --minutes $(or $(MINUTES),10)

pictures: $(VENV)/installed-dev ## Take pictures of every screen of the page: pictures/ and docs/images/
	@$(BIN)/python -m tests.web.pictures

bench: $(VENV)/installed-dev ## Race against the peers, check every answer: table and picture in bench/results/
	@$(BIN)/python -m bench $(BENCH)

bench-quick: $(VENV)/installed-dev ## The same in a minute, alone or with one peer: make bench-quick PEER=node
	@$(BIN)/python -m bench --size quick --scenarios chat-postgresql,chat-sqlite,rest --servers beseda,$(PEER) $(BENCH)

attacks: $(VENV)/installed-dev ## Attack a worker in a hundred ways, and time what others notice: a table in bench/results/
	@$(BIN)/python -m bench.attacks $(BENCH)

clean: ## Remove the virtual environment and caches; your data in instance/ stays
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The environment is made by the first Python of 3.11 or newer that can make one.
$(BIN)/python:
	@for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
		$$python -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		echo "Making $(VENV) with $$($$python --version)"; \
		$$python -m venv $(VENV) && exit; \
	done; \
	echo "Beseda needs Python 3.11 or newer with its venv module (on Debian: apt install python3-venv)" >&2; \
	exit 1

$(VENV)/installed: requirements.txt | $(BIN)/python
	@echo "Installing requirements.txt"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

$(VENV)/installed-dev: requirements-dev.txt $(VENV)/installed
	@echo "Installing requirements-dev.txt"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@
