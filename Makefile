# Needs nothing but Python 3.11 or newer and make. Everything it creates is inside this folder:
# .venv (newest tested Airflow), .venvs (the matrix), build, demo-output.

PYTHON ?= python3

# Where it is set, each of the many processes of an Airflow compiles all of it anew: twice the time of the tests.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help venv environments test test-all test-quick test-crash test-slots test-news test-ui browser screenshots lint test-matrix matrix-quick matrix-crash chaos house docs demo bench bench-landing release-check constraints clean

help:  ## Show this list
	@echo "airflow-provider-kling-avatar: what make can do"
	@echo
	@sed -n 's/^\([a-z-]*\):.*  ## /  make \1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r target text; do printf '%-22s %s\n' "$$target" "$$text"; done
	@echo
	@echo "  PYTHON=python3.12 make ...   use another Python (3.11 or newer)"

# The files that start an Airflow come first, so that their waiting is used: they idle half of
# the time, as do the tests of the watcher.
QUICK_TESTS = --dist loadfile --no-loadscope-reorder -m "not crash and not slow and not news and not ui"

# These do nothing if the environments are there and pyproject.toml has not changed.
environments:
	@$(PYTHON) dev/matrix.py --prepare $(MATRIX)
	@$(PYTHON) -m benchmarks.make_environment

venv:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "Python 3.11 or newer is needed, $(PYTHON) is %d.%d. Name another one: PYTHON=python3.12 make ..." % v[:2])'
	@$(PYTHON) dev/environment.py .venv

ifdef PYTEST
test: venv
	.venv/bin/python dev/under_test.py $(PYTEST)
else
test: venv  ## Lint, check types and test on the newest Airflow (PYTEST="-k name" for some)
	@mkdir -p build/reports
	.venv/bin/python dev/under_test.py --beside "lint make lint" -n 3 $(QUICK_TESTS) --junitxml=build/reports/test.xml
endif

test-all: UI = --ui
test-all: test test-crash test-slots test-news test-ui  ## The same, and the tests that take minutes (they need PostgreSQL and Redis)

test-quick: venv  ## The tests alone
	@mkdir -p build/reports
	.venv/bin/python dev/under_test.py -n 3 $(QUICK_TESTS) --junitxml=build/reports/test.xml

test-crash: venv  ## Kill everything there is to kill in a distributed Airflow (needs PostgreSQL and Redis)
	@mkdir -p build/reports
	.venv/bin/python dev/under_test.py -m crash --junitxml=build/reports/crash.xml

# On the oldest and the newest Airflow whose UI takes pages; on every one of them in test-all.
UI ?= --ui --airflow 3.1.8 --airflow 3.3.2
test-ui: browser  ## The pages of the UI, in a browser, on a real Airflow with logins; two minutes
	@$(PYTHON) dev/matrix.py $(UI) -- $(PYTEST)

browser:  ## Install Chromium, if there is none and apt-get can
	@$(PYTHON) dev/browser.py

screenshots: browser  ## Take the pictures of the pages that are in the docs
	@$(PYTHON) dev/screenshots.py

# MEANWHILE="environments chaos" makes these too, of the processor time that the waiting leaves over.
test-slots: venv  ## Fifty clips on an account with five slots; beside them twenty that another program makes
	@mkdir -p build/reports
	.venv/bin/python dev/under_test.py $(if $(MEANWHILE),--beside "meanwhile make $(MEANWHILE)") -n 2 --dist loadfile -m slow --junitxml=build/reports/slots.xml
	@cat build/reports/slots.txt

test-news: venv  ## The daily news from table to stored videos, while parts of Airflow die (needs PostgreSQL and Redis)
	@mkdir -p build/reports
	.venv/bin/python dev/under_test.py -m news --junitxml=build/reports/news.xml

chaos: venv  ## Thousands of random faults and crashes; what others pay for the same (CHAOS="--seed 7 --dialect kling" tells one)
	@.venv/bin/python dev/chaos.py $(CHAOS)

# The checks are in .pre-commit-config.yaml, and nowhere else. It needs to know the repository's files.
lint: venv  ## Check style, types, spelling, schemas and workflows
	@test -e .git || { echo "make lint asks git which files there are, and this folder is no clone. Make it one (git init && git add .), or run make test-quick, which does not lint." >&2; exit 1; }
	@PRE_COMMIT_HOME=.venv/pre-commit .venv/bin/pre-commit run --all-files

test-matrix: venv  ## Run the quick tests on Airflow 2.11, 3.0, 3.1, 3.2 and 3.3, and the crashes on 2.11
	@$(PYTHON) dev/matrix.py --crash 2.11.2 $(MATRIX) -- -n 2 $(QUICK_TESTS) $(PYTEST)

matrix-quick: venv
	@$(PYTHON) dev/matrix.py $(MATRIX) -- -n 2 $(QUICK_TESTS) $(PYTEST)

matrix-crash: venv
	@$(PYTHON) dev/matrix.py --airflow 2.11.2 --label crash -- -m crash $(PYTEST)

house: venv  ## How large the house is, beside what it may be
	@.venv/bin/python dev/house.py

docs:  ## Build the site of the documentation in build/site
	@$(PYTHON) dev/environment.py .venvs/docs --extras docs
	.venvs/docs/bin/python -m sphinx -W --keep-going -q -E -j auto -c docs . build/site
	@echo "the site is in build/site; begin at build/site/index.html"

demo: venv  ## Make a talking video in a real Airflow, for free (KEEP=1 leaves the web UI up)
	@.venv/bin/python dev/demo.py $(if $(KEEP),--keep)

bench:  ## Measure waiting against the official providers and a bare loop (QUICK=1: two minutes; ONLY="ours bare")
	@$(PYTHON) -m benchmarks.make_environment
	@.venvs/bench/bin/python -m benchmarks $(if $(QUICK),--quick) $(if $(ONLY),--only "$(ONLY)") $(BENCH)

bench-landing: venv  ## Measure the landing of a 500 MB clip against curl, and its memory; two minutes
	@.venv/bin/python -m benchmarks.landing $(BENCH)

# UNRELEASED=1 accepts the placeholder address and a change log without a date; TAG=v0.1.0 has to be the version's. The
# check reads TAG out of its environment: in a line of the recipe make and a shell would read what a tag is called.
release-check:  ## Build wheel and sdist, and check what is in them and whether they install and run; a minute
	@$(PYTHON) dev/release_check.py $(if $(UNRELEASED),--unreleased)

constraints: venv  ## Resolve the test environments, and what a release is built with, anew
	@$(PYTHON) dev/constraints.py

clean:  ## Remove everything make has created
	rm -rf .venv .venvs build dist demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
