# `make demo` and `make test` work on a fresh checkout: each sets up .venv first, and a second call installs nothing.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test lint bench drill render clean

demo: $(READY)
	$(BIN)/peftbench icl --shots 32
	$(BIN)/peftbench tune --method ia3
	$(BIN)/peftbench report

test: $(READY)
	$(BIN)/python -m pytest -q -n logical --dist loadfile --no-loadscope-reorder

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy examples

# other_templates.py counts what is read of two checkouts that are not here; decide_study.py takes hours.
bench: $(READY)
	for script in $(filter-out %/other_templates.py %/decide_study.py, $(wildcard benchmarks/*.py)); do \
	    $(BIN)/python $$script || exit 1; done

# Kills, damaged files and hostile input, with a seed that is printed: about 20 minutes.
drill: $(READY)
	$(BIN)/python -m tests.drills

# What is made from code and records: results/reference/, the README's table, docs/commands.md, docs/*.schema.json.
render: $(READY)
	$(BIN)/python docs/render.py

# torch first and alone: its pin names a build; a range may bring gigabytes of another one.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(READY)

clean:
	rm -rf .venv dist .mypy_cache .pytest_cache .ruff_cache
