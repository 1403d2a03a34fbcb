# make help lists every habit. Everything happens in a virtual environment of its own (.venv); set VENV= for another.
PYTHON ?= python3
VENV ?= .venv
BUILD ?= build/cpp
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
export CMAKE_BUILD_PARALLEL_LEVEL ?= $(JOBS)

.PHONY: help build demo test test-cpp test-py quick check lint types stubs fmt bench zoo-quick isa-audit sanitize wheel sdist clean

help:  ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

SOURCES := $(shell find cpp cmake python CMakeLists.txt pyproject.toml -type f ! -name '*.pyc' ! -name '*.so' 2>/dev/null)

$(PY):
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q --upgrade pip

$(VENV)/.demo: $(PY) $(SOURCES)
	$(PIP) install -q ".[demo]"
	@touch $@

$(VENV)/.test: $(VENV)/.demo
	$(PIP) install -q ".[demo,mpi,test]" cmake ninja
	@touch $@

$(VENV)/.lint: $(VENV)/.test
	$(PIP) install -q ".[lint]"
	@touch $@

build: $(VENV)/.demo  ## virtual environment with the package installed

demo: $(VENV)/.demo  ## train LeNet-5 on handwritten digits, print its accuracy, write a report
	$(VENV)/bin/rosenblatt train lenet5 --seed 0 --out runs/demo --overwrite
	@echo "report: runs/demo/report.html"

test: test-cpp test-py  ## every C++ and Python test of the default tier

CMAKE := $(VENV)/bin/cmake
CTEST := $(VENV)/bin/ctest

test-cpp: $(VENV)/.test  ## C++ tests
	$(CMAKE) -S . -B $(BUILD) -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(VENV))/bin/ninja -DRB_PYTHON=OFF -DRB_TESTS=ON > $(VENV)/cmake.log || (cat $(VENV)/cmake.log; false)
	$(CMAKE) --build $(BUILD) --parallel $(JOBS)
	$(CTEST) --test-dir $(BUILD) --output-on-failure

test-py: $(VENV)/.test  ## Python tests, default tier
	$(PY) -m pytest -m "not long and not gpu" tests

quick: $(VENV)/.test  ## the quick tier (seconds)
	$(PY) -m pytest -m quick tests

check: lint types stubs isa-audit  ## everything but the tests

lint: $(VENV)/.lint  ## ruff and clang-format
	$(VENV)/bin/ruff check python tests bench tools examples
	$(VENV)/bin/clang-format --dry-run --Werror $$(git ls-files '*.cpp' '*.hpp' '*.inl' '*.cu' '*.cuh')

types: $(VENV)/.lint  ## mypy, strict
	$(VENV)/bin/mypy --python-executable $(PY)

stubs: $(VENV)/.test  ## the checked-in stub of the compiled module is current
	$(PY) tools/gen_stubs.py --check

fmt: $(VENV)/.lint  ## format C++ and sort imports
	$(VENV)/bin/clang-format -i $$(git ls-files '*.cpp' '*.hpp' '*.inl' '*.cu' '*.cuh')
	$(VENV)/bin/ruff check --fix --select I python tests bench tools examples

isa-audit: test-cpp  ## no AVX code, weak symbols or static initialisers outside their objects
	$(PY) tools/isa_audit.py --self-test $(BUILD)

# QUICK=1 for a few shapes; JAX=PATH of a Python that has JAX, to compare training steps with it, too
zoo-quick: $(VENV)/.demo  ## every registered network for one epoch on 16 samples
	$(VENV)/bin/rosenblatt zoo --quick --out build/zoo-quick

bench: $(VENV)/.test  ## benchmarks against NumPy, PyTorch and JAX=PATH (needs apt install libbenchmark-dev)
	$(PIP) install -q ".[bench]"
	$(CMAKE) -S . -B build/bench -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(VENV))/bin/ninja -DRB_PYTHON=OFF -DRB_BENCH=ON
	$(CMAKE) --build build/bench --parallel $(JOBS)
	$(PY) bench/run.py --cpp build/bench $(if $(QUICK),--quick) $(if $(JAX),--jax-python $(JAX))
	$(PY) bench/memory.py $(if $(QUICK),--filter xor) $(if $(JAX),--jax-python $(JAX))

sanitize: $(VENV)/.test  ## C++ tests under address, undefined-behaviour and thread sanitizers
	$(CMAKE) -S . -B build/asan -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(VENV))/bin/ninja -DRB_PYTHON=OFF -DRB_TESTS=ON -DRB_SANITIZE=address,undefined
	$(CMAKE) --build build/asan --parallel $(JOBS)
	$(CTEST) --test-dir build/asan --output-on-failure
	$(CMAKE) -S . -B build/tsan -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(VENV))/bin/ninja -DRB_PYTHON=OFF -DRB_TESTS=ON -DRB_PARALLEL=std -DRB_SANITIZE=thread
	$(CMAKE) --build build/tsan --parallel $(JOBS)
	$(CTEST) --test-dir build/tsan --output-on-failure

wheel: $(PY)  ## dist/*.whl
	$(PIP) wheel -q --no-deps -w dist .

sdist: $(PY)  ## dist/*.tar.gz
	$(PIP) install -q build
	$(PY) -m build --sdist

clean:  ## remove everything that was built
	rm -rf build dist $(VENV) runs
