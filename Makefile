# Two commands do everything: `make book` and `make test`. Both create .venv on first use.
PYTHON ?= python3
export SHOWATTEND_DATA ?= $(CURDIR)/data
BIN    := .venv/bin
JAVA   := $(shell command -v java 2>/dev/null)
NPM    := $(shell command -v npm 2>/dev/null)

.PHONY: book test sync pretrained help
help:
	@echo "make book        build the guide: book/_build/html/index.html"
	@echo "make test        run the tests"
	@echo "make sync        write showattend/ and tests/ from the chapters in nbs/"
	@echo "make pretrained  train the bundled scenes captioner again (about half an hour on two cores)"

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; call make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[book,metrics,dev]"
	@touch $@

book/vendor/lib/require.js: tools/vendor.sh | .venv/installed
ifdef NPM
	PYTHON="$(CURDIR)/$(BIN)/python" tools/vendor.sh
else
	@echo "npm not found: the book's widgets will load their libraries from a CDN, and need the network"
endif

book: .venv/installed book/vendor/lib/require.js
	$(if $(JAVA),,@echo "java not found: METEOR and the PTB tokenizer are left out")
	@rm -rf book/_build/html book/_build/.doctrees
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/jupyter-book build -W --keep-going . \
	  --config book/_config.yml --toc book/_toc.yml --path-output book
	@echo "open book/_build/html/index.html"

test: .venv/installed
	$(BIN)/python tools/nbsync.py --check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile   # two processes of one thread each

sync: .venv/installed
	$(BIN)/python tools/nbsync.py
	$(BIN)/nbdev_clean --fname nbs

pretrained: .venv/installed
	tools/pretrained.sh
