# Two commands do everything on a fresh machine (Python 3.11, make, git): `make demo` and `make test`.
PYTHON ?= python3
PY := .venv/bin/python
export TOKENIZERS_PARALLELISM := false

.PHONY: demo inflation test test-fast bench check lint types lock clean

.venv/.ready: requirements.lock pyproject.toml
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: .venv/.ready  ## build the world, train one model on all twelve tasks, evaluate, report
	$(PY) -m twelvefold demo

inflation: demo  ## how much training on leaked test images inflates scores: four models on full, cleaned and half-cleaned splits
	$(PY) experiments/cleaning.py runs/demo runs/cleaning --crossover --page docs/results/cleaning.md

test: .venv/.ready  ## every test
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile

test-fast: .venv/.ready  ## the tests that take less than a second or two each
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile -m "not slow"

bench: .venv/.ready  ## how much faster than the original project's computation, at a small size
	OMP_NUM_THREADS=1 $(PY) -m benchmarks.forward --size small --rounds 3
	OMP_NUM_THREADS=1 $(PY) -m benchmarks.training --size small --rounds 3

lint: .venv/.ready
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	.venv/bin/lint-imports

types: .venv/.ready
	$(PY) -m mypy

check: lint types test  ## lint, format, types, tests

lock: .venv/.ready  ## update requirements.lock from pyproject.toml
	$(PY) -m pip install --quiet uv
	$(PY) -m uv pip compile pyproject.toml --extra lab --extra serve --extra onnx --extra dev --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate -o requirements.lock

clean:
	rm -rf .venv build *.egg-info src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
