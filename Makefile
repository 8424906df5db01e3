# Everything is installed into .venv from pinned constraints; no other set-up is needed.
PYTHON ?= python3
VENV := .venv
# Test files run side by side; one thread for each, so that they do not spin against each other.
JOBS ?= 2
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PYTEST := OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile \
	--no-loadscope-reorder

.PHONY: demo docs check test sweep lint fast clean

demo: $(INSTALLED)
	$(BIN)/python -m experiments.soften.digits_demo --out outputs/demo

# The documentation, as a site that opens without a server or a network: outputs/site/index.html.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# What a change must pass before it is shown to anyone: five minutes.
check: $(INSTALLED)
	$(MAKE) --no-print-directory --output-sync -j2 lint fast

# Everything: twenty-one minutes.
test: lint
	$(PYTEST)

# Every size, ten times the examples, compiled as users do: hours.
sweep: lint
	SOFTEQ_SWEEP=1 JAX_DISABLE_MOST_OPTIMIZATIONS=0 $(PYTEST)

# Style, types of the library, order of its rooms.
lint: $(INSTALLED)
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/basedpyright

fast: $(INSTALLED)
	$(PYTEST) -m "not slow"

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet \
		--disable-pip-version-check -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) outputs build dist *.egg-info
