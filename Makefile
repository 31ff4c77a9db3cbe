# Everything that a newcomer needs; works on Debian 12 with python3 and python3-venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The build backend warns of folders that pyproject.toml maps on purpose.
PIP := PYTHONWARNINGS=ignore $(BIN)/python -m pip --disable-pip-version-check --quiet

.DELETE_ON_ERROR:
.PHONY: help demo venv test lint bench clean install upgrade uninstall wheelhouse deb

help:
	@echo "make demo   run the embedded demo: no account, no network"
	@echo "make test   run the tests (those with foreign programs need them installed)"
	@echo "make lint   check style and types"
	@echo "make bench  measure calls on this machine"
	@echo "make venv   install everything for development into $(VENV)"
	@echo "make clean  remove $(VENV) and caches"
	@echo
	@echo "As root (docs/operations.md):"
	@echo "make install    the systemd service under /opt/trunkline and /etc/trunkline (DESTDIR= stages)"
	@echo "make upgrade    the same over a running one, after its calls"
	@echo "make uninstall  remove it; PURGE=1 the configuration, secrets and call records as well"
	@echo "make deb        a Debian package in build/"
	@echo "make wheelhouse what install and deb need, in build/wheelhouse: they then download nothing"

demo: $(VENV)/.runtime
	$(BIN)/trunkline demo $(ARGS)

venv: $(VENV)/.development

# Most tests wait for real audio: two at a time take half as long. JOBS=0 runs them one by one.
JOBS ?= 2
test: $(VENV)/.development
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile $(ARGS)

lint: $(VENV)/.development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

bench: $(VENV)/.runtime
	$(BIN)/python -m bench $(ARGS)

# The service runs on the system's Python: one in a home directory is hidden from it.
SERVICE_PYTHON ?= /usr/bin/python3
WHEELHOUSE ?= $(wildcard build/wheelhouse)
DESTDIR ?=
PURGE ?=
PACKAGING = PIP="$(abspath $(BIN))/python -m pip" PYTHON="$(SERVICE_PYTHON)" DESTDIR="$(DESTDIR)" PURGE="$(PURGE)" \
	WHEELHOUSE="$(if $(WHEELHOUSE),$(abspath $(WHEELHOUSE)))"

install upgrade: $(VENV)/.pip
	$(PACKAGING) packaging/install.sh $@

uninstall:
	$(PACKAGING) packaging/install.sh $@

deb: $(VENV)/.pip
	$(PACKAGING) packaging/build-deb.sh build

wheelhouse: $(VENV)/.pip
	$(PIP) --python "$(SERVICE_PYTHON)" wheel --constraint constraints.txt --wheel-dir build/wheelhouse \
		".[postgresql]" "setuptools>=77"
	rm -f build/wheelhouse/trunkline-*.whl  # of this moment; the sources are built when they are installed

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build dist *.egg-info

# --group needs pip 25.1; Debian 12 brings 23.0.
$(VENV)/.pip: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint constraints.txt pip
	@touch $@

$(VENV)/.runtime: $(VENV)/.pip pyproject.toml
	$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.development: $(VENV)/.runtime
	$(PIP) install --constraint constraints.txt --group dev
	@touch $@
