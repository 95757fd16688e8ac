# make tour | test | book | bench | lint | clean
#
# Needed beforehand: make and Python 3.11 or newer. Everything else goes into .venv, at the first call and again whenever pyproject.toml or
# constraints.txt changed. After that nothing needs the network. Another interpreter: make tour PYTHON=/path/to/python3.12

PYTHON ?= $(shell for p in python3 python3.12 python3.13 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; exit; }; done; echo python3)
PORT ?= 8000
WORKERS ?= 2
FUZZ ?= 5
BIN := .venv/bin
# An environment whose interpreter is gone is made again.
$(shell [ -e .venv/python.stamp ] && ! $(BIN)/python -c '' 2>/dev/null && rm -f .venv/*.stamp)
export NO_MKDOCS_2_WARNING := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help tour test book bench lint clean

help:
	@echo "make tour    install, then let the small CLIP answer on sticker scenes (writes tour/)"
	@echo "make test    install everything, then style, types, the book and all tests that are not slow"
	@echo "make book    read the book at http://127.0.0.1:$(PORT) (installs the site's tools only, no torch)"
	@echo "make bench   speed and memory beside the reference libraries"
	@echo "make lint    style and types only"
	@echo "make clean   remove what was made; keeps .venv and your own work in my/"

tour: .venv/plain.stamp
	@echo "== the tour"
	@$(BIN)/python -m lessons tour

test: lint
	@echo "== the book (mkdocs build --strict)"
	@$(BIN)/python -m mkdocs build --strict --site-dir site
	@echo "== tests (pytest -n $(WORKERS), without the slow ones)"
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadgroup
	@echo "== damaged files, hostile pickles, odd configs for $(FUZZ) minutes (the same cases each time; FUZZ=0: none)"
	@$(BIN)/python -W ignore -m tests.fuzz --minutes $(FUZZ) --seed make --workers $(WORKERS)

lint: .venv/dev.stamp
	@echo "== style (ruff check, ruff format --check)"
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@echo "== types (mypy)"
	@$(BIN)/python -m mypy

book: .venv/docs.stamp
	@echo "== the book: http://127.0.0.1:$(PORT)/ (stop with Ctrl-C)"
	@$(BIN)/python -m mkdocs serve --dev-addr 127.0.0.1:$(PORT)

bench: .venv/plain.stamp
	@echo "== speed and memory beside the references"
	@$(BIN)/python -m tests.benchmarks

clean:
	@echo "== removing built pages and caches (.venv and my/ stay; 'rm -rf .venv' removes the environment)"
	@rm -rf site docs/lessons docs/files docs/reference build dist tour *.egg-info .pytest_cache .ruff_cache .mypy_cache
	@find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

# ---------------------------------------------------------------- the environment
# install NAME REQUIREMENTS: pip with one line for each large download; the whole log is in .venv/install.log.
define install
	@echo "== installing $(1) into .venv ($$($(BIN)/python --version)); the first time this downloads a good deal"
	@{ PYTHONUNBUFFERED=1 $(BIN)/python -m pip install --progress-bar off -c constraints.txt $(2) 2>&1 || echo "pip-failed"; } \
	| tee .venv/install.log | { failed=; while IFS= read -r line; do case "$$line" in \
	    pip-failed) failed=1 ;; \
	    *Downloading*" MB)"* | *Downloading*" GB)"* | *"Using cached"*" MB)"*) echo "   $${line#"$${line%%[! ]*}"}" ;; \
	    "Installing collected packages"*) echo "   unpacking (a minute or two) ..." ;; \
	    ERROR* | *"No space left"*) echo "   $$line" ;; esac; done; \
	  if [ -n "$$failed" ]; then tail -n 15 .venv/install.log; echo "== the installation failed; the whole log: .venv/install.log"; exit 1; fi; }
endef

.venv/python.stamp:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11 or newer is needed; $(PYTHON) is $$("$(PYTHON)" --version 2>&1 || true)."; \
	  echo "Install one, or name it: make tour PYTHON=/path/to/python3.12"; exit 1; }
	@echo "== making .venv with $$("$(PYTHON)" --version)"
	@"$(PYTHON)" -m venv --clear .venv || { echo "Python's venv module is incomplete (Debian, Ubuntu: apt install python3-venv)."; exit 1; }
	@touch $@

.venv/plain.stamp: .venv/python.stamp pyproject.toml constraints.txt
	$(call install,the plain package,-e .)
	@touch $@

.venv/docs.stamp: .venv/python.stamp pyproject.toml constraints.txt
	$(call install,the tools of the site,$$($(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['docs'])"))
	@touch $@

.venv/dev.stamp: .venv/python.stamp pyproject.toml constraints.txt
	$(call install,everything (package, site, tests),-e '.[dev]')
	@touch .venv/plain.stamp .venv/docs.stamp $@
