# Each target sets up what it needs: a virtual environment in .venv with pinned versions.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A sourced ROS environment brings pytest plugins that pytest 9 fails on; none of them is used.
export PYTEST_DISABLE_PLUGIN_AUTOLOAD := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Python 3.10 (ROS 2 Humble) needs older releases.
CONSTRAINTS := $(shell $(PYTHON) -c 'import sys; print("constraints.txt" if sys.version_info >= (3, 11) else "constraints-py310.txt")' 2>/dev/null)

BAG ?=
MODEL ?= builtin

.PHONY: demo test check docs format dist dist-check matrix clean

# Three workers for two cores, since one of them often waits for a node; one thread each, since they
# share the cores and tiny networks want no more.
test: export OMP_NUM_THREADS := 1
test: $(VENV)/.installed  ## everything, in about eight minutes on two cores
	$(BIN)/python -m pytest -p xdist -n 3 --dist loadfile --no-loadscope-reorder

check: $(VENV)/.installed  ## style, types, import direction; in under a minute
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q test/test_imports.py

docs: $(VENV)/.docs  ## the documentation site, in site/
	NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(BIN)/mkdocs build

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# make demo BAG=drive.mcap runs on your own recording, CAMERA=TOPIC names one of several cameras, and
# MODEL=DIR your own weights.
demo: $(VENV)/.installed  ## a simulated robot, the node and a recorder over real ROS 2
	$(BIN)/diception demo $(if $(BAG),'$(BAG)') $(if $(CAMERA),--camera '$(CAMERA)') --model '$(MODEL)' --out demo_output

dist: $(VENV)/.installed  ## a wheel and an sdist in dist/, with their contents checked
	rm -rf dist
	$(BIN)/python -m build -o dist . >/dev/null
	$(BIN)/python tools/check_dist.py dist

dist-check: dist  ## installs both in a new virtual environment, and predicts there
	$(BIN)/python tools/check_dist.py --install dist

# One virtual environment after the other; make matrix ONLY='py310 jazzy' runs some.
matrix:  ## model, messages and node on Python 3.10 to 3.13, two ROS, numpy and OpenCV releases
	$(PYTHON) tools/matrix.py $(if $(ONLY),--only $(ONLY))

clean:
	rm -rf $(VENV) build dist site *.egg-info demo_output

comma := ,
# Runs a command whose output says nothing for minutes: a dot every five seconds.
define with_dots
@$(1) & pid=$$!; trap 'kill $$pid 2>/dev/null; exit 130' INT TERM; \
seconds=0; while kill -0 $$pid 2>/dev/null; do \
  sleep 1; seconds=$$((seconds + 1)); [ $$((seconds % 5)) -ne 0 ] || printf '.' >&2; \
done; [ $$seconds -lt 5 ] || echo >&2; wait $$pid
endef

# torch by itself: a build that is in .venv already, such as one without CUDA, stays.
$(VENV)/.installed: setup.py $(CONSTRAINTS)
	@command -v $(PYTHON) >/dev/null || { echo 'there is no $(PYTHON); install it, or name a Python from 3.10 to 3.13: make PYTHON=python3.11' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "this needs Python 3.10 or newer, and $(PYTHON) is older; name another one: make PYTHON=python3.11")'
	@echo 'Creating a virtual environment in $(VENV)' >&2
	$(call with_dots,$(PYTHON) -m venv $(VENV))
	@echo 'Installing torch, 1 of 2: 2 GB on disk with the rest, 6 GB where torch brings CUDA, in a few minutes' >&2
	$(call with_dots,$(BIN)/pip install -q -c $(CONSTRAINTS) torch)
	@echo 'Installing this package and what it needs, 2 of 2' >&2
	$(call with_dots,$(BIN)/pip install -q -c $(CONSTRAINTS) --use-pep517 -e '.[ros$(comma)dev$(comma)evaluate$(comma)sim$(comma)view$(comma)export]')
	touch $@

$(VENV)/.docs: $(VENV)/.installed
	@echo 'Installing what the documentation needs' >&2
	$(call with_dots,$(BIN)/pip install -q -c $(CONSTRAINTS) --use-pep517 -e '.[docs]')
	touch $@
