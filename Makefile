# The commands of the README. `make setup` is quick once it is done: a stamp remembers what it was done for.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
STAMP := $(VENV)/.setup-done

.PHONY: setup run test check

setup: $(STAMP)

# torch first: its pinned version is a CPU build where one is offered, and nothing may pull in another.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: make setup PYTHON=/path/to/python3.11" >&2; exit 2; }
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)" -c constraints.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $(STAMP)

run: setup
	@$(VENV)/bin/fugu up --for-trying

# Compiled files are kept, also where the environment says otherwise: each process would compile the tests anew.
test: setup
	PYTHONDONTWRITEBYTECODE= $(VENV)/bin/python -m pytest

check: setup
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
