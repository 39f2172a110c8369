# From a fresh clone: `make table1`, `make test`, and `make gate`, which tells whether any method's metrics got worse.
PYTHON ?= python3
VENV   ?= .venv
RUN    := $(VENV)/bin/python
STAMP  := $(VENV)/.installed

# make table1 N=20000 SEEDS=5 SCHEDULE=paper is the paper's size
N        ?= 1000
SEEDS    ?= 1
SCHEDULE ?= short
DATASET  ?= embedded-mimic
PROTOCOL ?= strict
JOBS     ?= 2
STORE    ?= results/cells
OUT      ?= reports/build
GATE     ?= results/gate-cells
LOCKED   ?= results/locked/gate.csv
METHOD   ?=
SPEED    ?= results/speed
ONLY     ?=

# n= is a dial of the embedded cohorts only
SIZE = $(if $(filter embedded-%,$(DATASET)),n=$(N))

# public implementations that some tests and `make bench` compare with, in an environment of their own
PEERS := .venv-peers

.PHONY: install table1 gate lock test coverage slow lint bench peers clean
install: $(STAMP)
$(STAMP): requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --requirement requirements.lock
	touch $@

table1: install
	$(RUN) -m benchmark run table1 -j $(JOBS) dataset=$(DATASET) $(SIZE) seeds=$(SEEDS) schedule=$(SCHEDULE) protocol=$(PROTOCOL) store=$(STORE)
	$(RUN) -m benchmark report table1 dataset=$(DATASET) protocol=$(PROTOCOL) store=$(STORE) out=$(OUT)

# a failed cell (status 1) is for compare to name
gate: install
	$(RUN) -m benchmark run gate -j $(JOBS) store=$(GATE) || [ $$? -eq 1 ]
	$(RUN) -m benchmark compare $(LOCKED) $(GATE) --gate

# all methods, half an hour of one core, or some: make lock METHOD=late_fusion; then look at what git diff says of $(LOCKED)
lock: install
	$(RUN) -m benchmark run gate -j $(JOBS) seeds=20 $(if $(METHOD),method=$(METHOD)) store=$(GATE)
	$(RUN) -m benchmark lock $(GATE) $(LOCKED) $(if $(METHOD),--keep)

test: install
	$(RUN) -m pytest -n 2

# the same tests, half as slow again, and the share of lines that they run in their own process; subprocesses are not counted
coverage: install
	$(RUN) -m pytest -n 2 --cov --cov-report=term

slow: install
	$(RUN) -m pytest -n 2 -m slow

lint: install
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

# all, or make bench ONLY='growth and N2000', a -k expression of pytest
bench: install
	mkdir -p $(SPEED)
	$(RUN) -m pytest tests/speed -m 'slow or not slow' --benchmark-enable --benchmark-only -p no:xdist $(if $(ONLY),-k '$(ONLY)') \
		--benchmark-json=$(SPEED)/$$(date -u +%Y-%m-%dT%H-%M-%S)-$$(uname -n).json; status=$$?; \
		echo "python -m benchmark report speed shows what was measured"; exit $$status

peers: $(PEERS)/.installed
$(PEERS)/.installed: requirements-peers.lock
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --requirement requirements-peers.lock
	touch $@

clean:
	rm -rf datasets/built results/cells $(GATE) reports/build
