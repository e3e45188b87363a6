# Needs nothing but Python 3.11 or newer and make. Everything it creates is inside this folder:
# .venv (newest tested Airflow), .venvs (the matrix), build, demo-output.

PYTHON ?= python3

.DEFAULT_GOAL := help
.PHONY: help venv test lint test-matrix demo constraints clean

help:  ## Show this list
	@echo "airflow-provider-kling-avatar: what make can do"
	@echo
	@sed -n 's/^\([a-z-]*\):.*  ## /  make \1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r target text; do printf '%-22s %s\n' "$$target" "$$text"; done
	@echo
	@echo "  PYTHON=python3.12 make ...   use another Python (3.11 or newer)"

# Does nothing if the environment is there and pyproject.toml has not changed.
venv:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "Python 3.11 or newer is needed, $(PYTHON) is %d.%d. Name another one: PYTHON=python3.12 make ..." % v[:2])'
	@$(PYTHON) dev/environment.py .venv

test: lint  ## Lint, check types and run all tests on the newest Airflow (PYTEST="-k name" for some)
	@mkdir -p build/reports
	.venv/bin/python dev/under_test.py -n 2 --dist loadfile --junitxml=build/reports/test.xml $(PYTEST)

lint: venv  ## Check style and types
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/mypy dev

test-matrix: venv  ## Run all tests on Airflow 2.11, 3.0, 3.1, 3.2 and 3.3
	@$(PYTHON) dev/matrix.py -- $(PYTEST)

demo: venv  ## Make a talking video in a real Airflow, for free (KEEP=1 leaves the web UI up)
	@.venv/bin/python dev/demo.py $(if $(KEEP),--keep)

constraints: venv  ## Resolve the test environments anew
	@$(PYTHON) dev/constraints.py

clean:  ## Remove everything make has created
	rm -rf .venv .venvs build dist demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
