# make cycle: one production cycle on the embedded node.   make test: the tests.   Both make .venv first.
# make proof: 24 rehearsed hours, every one with verified evidence.   make bench: the benchmarks.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install -q -c constraints.txt

.PHONY: cycle test lint proof bench clean
# A cycle that a gate blocked (3) or that rolled a change back (4) has run as it should. Run by hand it does not wait
# out the interval between cycles; that is recorded.
cycle: .venv/.run
	@$(BIN)/node0 cycle --force; code=$$?; case $$code in 3|4) exit 0;; *) exit $$code;; esac

# One worker more than there are cores: many tests wait for real servers and real seconds.
test: .venv/.test lint
	$(BIN)/python -m pytest -n $$($(BIN)/python -c 'import os; print(1 + os.cpu_count())') --dist worksteal $(PYTEST)

lint: .venv/.test
	$(BIN)/python -m ruff check
	$(BIN)/python -m mypy
	$(BIN)/lint-imports

proof: .venv/.run
	$(BIN)/node0 replay --hours 24

bench: .venv/.test
	$(BIN)/python tests/benchmarks/cycle_time.py
	$(BIN)/python tests/benchmarks/alert_replay.py
	$(BIN)/python tests/benchmarks/burn_sweep.py
	$(BIN)/python tests/benchmarks/explorer.py
	$(BIN)/python tests/benchmarks/canary_aa.py
	$(BIN)/python tests/benchmarks/dora.py
	$(BIN)/python tests/benchmarks/dora_coverage.py

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

.venv/.run: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) -e .
	touch $@

.venv/.test: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) -e '.[test]'
	touch $@ .venv/.run
