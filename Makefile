# Every target sets up .venv by itself and does again only what changed.
#   make quickstart   install, then from text to a chat model that answers (make quickstart ARGS="budget=4m")
#   make test         lint, types, the layer contract, the fast tests
#   make test-slow    the slow tests and those that drive a browser (make browser installs Chromium)
#   make labs         the labs' checks put to the test: wrong answers refused, right ones taken
#                     (an hour or so; LABS="attention rope" for these alone, LABS_ARGS="--seeds 50")
#   make docs         the documentation, in site/
#   make bench        the CPU's benchmarks against peers (make bench BENCH_ARGS=--quick)
.PHONY: quickstart test test-slow browser lint labs docs bench clean
.DEFAULT_GOAL := quickstart

# The first of these that is Python 3.11 or newer; PYTHON=/path/to/python chooses another.
PYTHON ?= $(shell for candidate in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$candidate; break; }; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
PINS := pyproject.toml constraints.txt
ARGS ?=
BENCH_ARGS ?=
LABS ?=
LABS_ARGS ?=

quickstart:
	@test -e .venv/.base || printf '%s\n' \
		'Installing lmwright into .venv: 0.3 GB to download, 1.4 GB on disk, a minute or two;' \
		'2.8 GB to download where pip brings torch with its GPU libraries (Linux on x86-64).'
	@$(MAKE) --no-print-directory .venv/.base
	@echo 'Then, from text to a chat model: about 8 minutes on two cores (ARGS="budget=4m" for less).'
	$(BIN)/lmwright run quickstart $(ARGS)

# A process for each core, and one thread in each: most tests are too small to share one.
PYTEST := OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -q --durations=10 \
	-n auto --maxprocesses 4 --dist worksteal

test: lint
	$(PYTEST)

test-slow: .venv/.test
	$(PYTEST) -m 'slow or browser'

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

labs: .venv/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m lmwright.roadmap.gate $(LABS) $(LABS_ARGS) \
		--solutions tests/roadmap/solutions --results benchmarks/results

browser:
	@for name in chromium chromium-browser google-chrome google-chrome-stable; do \
		command -v $$name >/dev/null && exit 0; done; \
	command -v apt-get >/dev/null || { \
		echo 'error: no Chromium found, and no apt-get to install it with' >&2; \
		echo '       install Chromium or Chrome so that `chromium` or `google-chrome` is on the PATH' >&2; \
		exit 2; }; \
	root=; test "$$(id -u)" = 0 || root=sudo; \
	$$root apt-get update -qq && \
	$$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
		chromium fonts-liberation

docs: .venv/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: .venv/.bench
	@for file in $(filter-out benchmarks/gpu_%,$(sort $(wildcard benchmarks/*.py))); do \
		echo "== $$file"; $(BIN)/python "$$file" $(BENCH_ARGS) || exit 1; done

# Never the runs: those are yours.
clean:
	rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.created:
	@test -n "$(PYTHON)" || { \
		echo 'error: lmwright needs Python 3.11 or newer, and none was found' >&2; \
		echo '       install one, or name it: make PYTHON=/path/to/python3.11' >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'error: lmwright needs Python 3.11 or newer; $(PYTHON) is older, or does not run' >&2; \
		echo '       name another: make PYTHON=/path/to/python3.11' >&2; exit 2; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.base: .venv/.created $(PINS)
	$(PIP) -e .
	@touch $@

.venv/.test: .venv/.base
	$(PIP) -e '.[test,data,tracking]'
	@touch $@

.venv/.docs: .venv/.base
	$(PIP) -e '.[docs]'
	@touch $@

.venv/.bench: .venv/.base
	$(PIP) -e '.[bench]'
	@touch $@
