# Each target sets up what it needs: a virtual environment in .venv with pinned versions.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A sourced ROS environment brings pytest plugins that pytest 9 fails on; none of them is used.
export PYTEST_DISABLE_PLUGIN_AUTOLOAD := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Python 3.10 (ROS 2 Humble) needs older releases.
CONSTRAINTS := $(shell $(PYTHON) -c 'import sys; print("constraints.txt" if sys.version_info >= (3, 11) else "constraints-py310.txt")')

.PHONY: demo test check format clean

# One thread a process: two of them share the cores, and tiny networks want no more.
test: export OMP_NUM_THREADS := 1
test: $(VENV)/.installed  ## everything, in under ten minutes on two cores
	$(BIN)/python -m pytest -p xdist -n 2 --dist loadfile

check: $(VENV)/.installed  ## style, types, import direction; in under a minute
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q test/test_imports.py

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo: $(VENV)/.installed demo_output/model/model_index.json  ## all tasks, on random weights
	$(BIN)/python -c 'from skimage import data, io; io.imsave("demo_output/astronaut.png", data.astronaut())'
	$(BIN)/diception predict demo_output/astronaut.png --model demo_output/model --steps 4 \
	    --task depth normal entity pose segmentation semantic --category person \
	    --points '220,120;200,300' --out demo_output/answers
	@echo 'The weights are random, so these answers are noise; what you see is that everything runs.'
	@echo 'Look at demo_output/answers/astronaut.png/sheet.png'

demo_output/model/model_index.json: | $(VENV)/.installed
	$(BIN)/diception tiny --out demo_output/model

clean:
	rm -rf $(VENV) build dist *.egg-info demo_output

# torch first and by itself: the index offers several builds, and the pin picks the one to take.
$(VENV)/.installed: setup.py $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c $(CONSTRAINTS) torch
	$(BIN)/pip install -q -c $(CONSTRAINTS) -e '.[ros,dev,evaluate,sim]'
	touch $@
