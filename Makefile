# Make goes by content here: stamps (results/.stamps) change only when the content behind them does.
# fusionkit/stamps.py writes them, fusionkit/reproduce.py says which notebook depends on which.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := help
.PHONY: help setup reproduce executed test lab data weights bench report tidy clean FORCE

PROFILE ?= standard
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
PYTHON := $(BIN)/python
READY := $(VENV)/ready
RULES := results/.stamps/rules-$(PROFILE)$(if $(PAPER),-$(PAPER)).mk
WHAT := --profile $(PROFILE) $(if $(PAPER),--paper $(PAPER))
SYNC := $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
ifdef FUSIONKIT_DATA
export FUSIONKIT_DATA := $(abspath $(FUSIONKIT_DATA))
endif

help:  ## list the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20
	@echo
	@echo "  PROFILE=smoke|standard|paper (now $(PROFILE)), PAPER=one of the papers (now $(or $(PAPER),all)), JOBS=$(JOBS),"
	@echo "  FUSIONKIT_DATA=folder of the datasets"

setup: $(READY)  ## create .venv with everything in it

$(VENV)/pyproject.toml: FORCE
	@mkdir -p $(@D)
	@cmp -s pyproject.toml $@ || cp pyproject.toml $@

$(READY): $(VENV)/pyproject.toml
	@command -v python3.11 >/dev/null || { echo "error: python3.11 not found; install Python 3.11" >&2; exit 2; }
	@echo "setting up $(VENV) (some minutes)"
	@python3.11 -m venv $(VENV)
	@$(PYTHON) -m pip install -qq -e '.[dev]'
	@touch $@

reproduce: $(READY)  ## verify the measurements, run every notebook, write the report, print one table
	@began=$$(date +%s); \
	$(MAKE) --no-print-directory $(RULES); \
	$(MAKE) --no-print-directory -k -j$(JOBS) $(SYNC) executed FRESH=1 || true; \
	$(MAKE) --no-print-directory report FRESH=1 || true; \
	$(PYTHON) -m fusionkit.reproduce summary $(WHAT) --since $$began

test: $(READY)  ## lint, run the tests, run the notebooks and compare the outputs of walkthroughs
	@$(BIN)/ruff check
	@OMP_NUM_THREADS=1 FUSIONKIT_NO_PROGRESS=1 $(PYTHON) -m pytest -n $(JOBS) --dist loadscope \
	  --nbval --nbval-sanitize-with notebooks/sanitize.cfg tests notebooks

lab: $(READY)  ## open the notebooks in JupyterLab
	@$(BIN)/jupyter lab notebooks

data: $(READY)  ## download the datasets that have a public address
	@$(BIN)/fusionkit data fetch

weights: $(READY)  ## train every network by its paper's protocol (hours)
	@$(BIN)/fusionkit train --all

bench: $(READY)  ## time models, baselines, metrics, blocks, the selective scan and growth with image size, beside plain implementations
	@OMP_NUM_THREADS=1 $(PYTHON) -m benchmarks models baselines metrics blocks
	@$(PYTHON) -m benchmarks scan scaling bounds

tidy: $(READY)  ## strip outputs from notebooks that are committed without, and write their navigation
	@$(PYTHON) -m fusionkit.navigation

clean:  ## remove executed notebooks, reports, stamps and caches (not .venv, data or training runs)
	@rm -rf results/executed results/report results/.stamps .pytest_cache .ruff_cache .hypothesis
	@find . -path ./$(VENV) -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -prune -exec rm -rf {} +

# Everything that reproduce runs. The rules are an included Makefile, which Make brings up to date by itself;
# FRESH=1 says that they are.
$(RULES): $(READY) $(if $(FRESH),,FORCE)
	@$(PYTHON) -m fusionkit.reproduce rules $(WHAT)

ifneq ($(filter executed report results/executed/%,$(MAKECMDGOALS)),)
include $(RULES)

executed: $(STEPS)

report: $(REPORT)  ## write the report on what has been run

$(REPORT): $(wildcard $(RECORDS))

$(STEPS) $(REPORT): results/executed/$(PROFILE)/%: $(READY)
	@OMP_NUM_THREADS=1 $(PYTHON) -m fusionkit.reproduce run '$(basename $*)' $(WHAT)
endif

FORCE:
