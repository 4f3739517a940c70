# make demo | test | lint | interop | bench | screenshots; each makes .venv first. PYTHON=python3.12 chooses another interpreter
# (3.10 to 3.13).
PYTHON ?= python3
DEVICE ?= cpu
BIN := .venv/bin
# One process of tests for each core, each with a thread of its own; memory and not cores limits them.
WORKERS := --numprocesses auto --maxprocesses 4 --dist loadfile

.PHONY: demo test lint interop bench screenshots clean lite-medsam

demo: lite-medsam
	$(BIN)/tumorseg demo --output demo

# The engines once more on what a processor without AVX-512 computes.
test: lint lite-medsam
	OMP_NUM_THREADS=1 $(BIN)/pytest $(WORKERS)
	OMP_NUM_THREADS=1 ONEDNN_MAX_CPU_ISA=AVX2 $(BIN)/pytest $(WORKERS) Testing/unit/engines

# A published model, kept with the user's others; without a network what needs it is skipped.
lite-medsam: .venv/ready
	$(BIN)/tumorseg models download lite-medsam || echo "lite-medsam could not be downloaded; what needs it is skipped"

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=TumorSeg $(BIN)/lint-imports

# nnU-Net v2 in an environment of its own; its trainings, some minutes on two cores, are kept until `make clean`.
interop: .venv/ready .interop/ready
	.interop/bin/python Testing/interop/nnunet_side.py .interop/work
	$(BIN)/python -m Testing.interop .interop/work

.interop/ready: Testing/interop/requirements.txt
	$(PYTHON) -m venv .interop
	.interop/bin/python -m pip install --quiet torch==2.13.0
	.interop/bin/python -m pip install --quiet --requirement Testing/interop/requirements.txt
	touch $@

bench: .venv/ready
	$(BIN)/python -m Testing.benchmarks --device $(DEVICE)

# The pictures of the Slicer module in the documents, to be taken again when the panel changes; and of each state of the panel
# in Testing/output/states, to be looked at.
screenshots: .venv/ready
	$(BIN)/python -m Testing.slicer.screenshots

# torch first and alone: it is large, and must be the pinned build before anything asks for a newer one.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed, PYTHON=$(PYTHON) is " + sys.version)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .interop demo Testing/output
