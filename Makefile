# Everything is installed into .venv from pinned constraints; no other set-up is needed.
PYTHON ?= python3
VENV := .venv
# Test files run side by side; one thread for each, so that they do not spin against each other.
JOBS ?= 2
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test lint clean

demo: $(INSTALLED)
	$(BIN)/python -m experiments.digits_demo --out outputs/demo

test: $(INSTALLED) lint
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet \
		--disable-pip-version-check -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) outputs build dist *.egg-info
