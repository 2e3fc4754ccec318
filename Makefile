# Two commands: `make book` and `make test`. Each makes .venv from requirements.lock on first use.
#   make test ENV=             use the active Python, for containers and conda
#   make book PYTHON=python3.12   make .venv with another Python
ENV     = .venv
PYTHON ?= python3
NB     ?=
JOBS   ?= 1
PY      = $(if $(ENV),$(ENV)/bin/python,$(PYTHON))
BOOK    = $(if $(ENV),$(ENV)/bin/)jupyter-book
READY   = $(if $(ENV),$(ENV)/.softmi-ready)
# Fewer notes that nobody acts on.
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export JUPYTER_PLATFORM_DIRS = 1
export PYDEVD_DISABLE_FILE_VALIDATION = 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help env book test test-all notebooks full claims pdf bench lint serve clean lock

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(READY) ## make .venv from requirements.lock (the other targets do it by themselves)

CHECK_PYTHON = @$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("softmi needs \
	Python 3.11 or newer, and $(PYTHON) is %d.%d. Name another: make PYTHON=python3.12" \
	% sys.version_info[:2])'

# On all cores, which pip does not use. Without this, every start of Python reads the sources anew
# where PYTHONDONTWRITEBYTECODE is set, as in many containers. Some files of torch are for other
# versions of Python.
COMPILE = $(ENV)/bin/python -m compileall -qq -j 0 $(ENV)/lib || true

# An attempt that was cut short leaves .unfinished behind, and the next one starts from nothing.
$(ENV)/.softmi-ready: requirements.lock pyproject.toml
	$(CHECK_PYTHON)
	@test ! -e $(ENV)/.unfinished || rm -rf $(ENV)
	@echo "Making the environment in $(ENV) from requirements.lock: once, some minutes."
	@mkdir -p $(ENV) && touch $(ENV)/.unfinished
	$(PYTHON) -m venv $(ENV)
	$(ENV)/bin/python -m pip install --no-compile --requirement requirements.lock
	@$(COMPILE)
	$(ENV)/bin/python -m pip install --no-deps --no-build-isolation --editable .
	@rm $(ENV)/.unfinished && touch $@

book: $(READY) ## run the notebooks that are out of date, then build the book
	$(PY) -m tools.run_notebooks --jobs $(JOBS)
	@$(MAKE) --no-print-directory _build/html/index.html
	@echo "Book: $(CURDIR)/_build/html/index.html"

CODE = $(wildcard softmi/*.py softmi/*/*.py softmi/*.pyi softmi/*/*.pyi tools/*.py tools/*/*.py)

book/_generated/.made: $(CODE) CITATION.cff _config.yml book/references.bib \
		$(wildcard claims/*.yml results/*.json notebooks/*.py)
	$(PY) -m tools.build_pages
	@touch $@

# The last file that a build leaves, so there is none after a build that failed. Sphinx reads only
# what changed, unless that is what all pages depend on; it writes all pages, so that titles in the
# contents are the new ones, and a link into nothing is found wherever it is.
_build/html/index.html: $(READY) book/_generated/.made _config.yml _toc.yml $(CODE) \
		$(wildcard book/*.* book/_static/* book/_templates/* notebooks/*.ipynb)
	@$(PY) -c 'import jupyter_book as b; b.__version__.startswith("1.") or exit("needs Jupyter Book 1")'
	@rm -rf $(@D)
	$(BOOK) build . $(if $(filter $(READY) _config.yml _toc.yml tools/% book/_templates/%,$?),--all) -n -W --keep-going
	@test -s $@ || { echo "The build left no $@"; exit 1; }

test: $(READY) ## check everything: library, claims, notebooks and their outputs
	$(PY) -m pytest -n 2 --dist loadscope --no-loadscope-reorder -rs -m "not minutes"
	@echo "Tests: passed"

test-all: $(READY) ## the same, and what takes minutes: falsified results, the worked example
	$(PY) -m pytest -n 2 --dist loadscope --no-loadscope-reorder -rs
	@echo "Tests: passed"

notebooks: $(READY) ## run all notebooks anew in the smoke profile (NB=07 for one)
	$(PY) -m tools.run_notebooks $(NB) --force --jobs $(JOBS)
	@echo "Notebooks: $(CURDIR)/notebooks"

full: $(READY) ## run the notebooks on the full data under SOFTMI_DATA (NB=07 for one)
	$(PY) -m tools.run_notebooks $(NB) --profile full --jobs $(JOBS)
	@echo "Results: $(CURDIR)/results"

claims: $(READY) ## bring the README's table up to date, seal what is new, then check it all
	$(PY) -m tools.build_pages --readme
	$(PY) -m softmi.evidence.seals
	$(PY) -m pytest tests/book/test_claims.py tests/book/test_notebooks.py tests/book/test_book_pages.py -q -m "not minutes"

pdf: $(READY) ## print the whole book with Chromium (CHROMIUM= names another)
	$(PY) -m tools.build_pages
	$(BOOK) build . --builder singlehtml -n -W --keep-going
	$(PY) -m tools.print_book $(if $(CHROMIUM),--browser $(CHROMIUM))

bench: $(READY) ## measure speed and accuracy beside other packages
	$(PY) benchmarks/run.py

lint: $(READY) ## check the style of the code, its types and who imports whom
	$(PY) -m ruff check .
	$(PY) -m mypy softmi
	$(PY) -c 'from importlinter.cli import lint_imports_command as check; check(["--no-cache"])'

serve: $(READY) ## show the built book at http://localhost:8000
	$(PY) -m http.server --directory _build/html --bind 127.0.0.1 8000

lock: ## write requirements.lock anew, with the newest versions that pyproject.toml allows
	$(CHECK_PYTHON)
	rm -rf _build/lock && $(PYTHON) -m venv _build/lock
	_build/lock/bin/python -m pip install --editable '.[book,test]'
	_build/lock/bin/python -m tools.write_lock

clean: ## remove what was built (the environment stays: rm -r .venv)
	rm -rf _build book/_generated results/smoke build *.egg-info .pytest_cache .ruff_cache .mypy_cache
