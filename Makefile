# make train: set up and train LICA on a SMAX map until it wins most battles, some minutes.
# make test:  set up and run the tests.
# Everything is installed into .venv; nothing else on the machine is touched.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CONSTRAINTS := constraints.txt
# Containers often forbid byte code; then each of the tests' many processes would compile 1,400
# modules anew, a third of its time. What a command imports is compiled once, when .venv is made.
KEEP_BYTE_CODE := env -u PYTHONDONTWRITEBYTECODE
# The first Python 3.11 or newer that runs; say `make train PYTHON=...` to choose another.
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.13 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)

.PHONY: train test test-slow lint bench notebooks docs wheel clean

train: $(READY)
	$(BIN)/lica-jax train lica smax/2s3z --preset tuned --total-steps 800000
	@echo "Fewer steps do for LICA-ADV, in half a minute (five seeds: 99.1 % greedy, 97.8 % sampled),"
	@echo "for LICA-ADV on LICA's critic (99.6 %, 96.4 %) and for MAPPO (98.5 %, 95.2 %):"
	@echo "  $(BIN)/lica-jax train lica_adv smax/2s3z --preset tuned"
	@echo "  $(BIN)/lica-jax train lica_adv smax/2s3z --total-steps 500000"
	@echo "  $(BIN)/lica-jax train mappo smax/2s3z --total-steps 500000"

# These tests compile far more than they compute: code generation need not try hard. (XLA_FLAGS= for
# the programs that users run; the slow tests compute, and have them anyway.) One worker more than
# two cores have: some tests wait for processes.
test: export XLA_FLAGS ?= --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false \
	--xla_cpu_parallel_codegen_split_count=1
test: $(READY)
	$(KEEP_BYTE_CODE) $(BIN)/python -m pytest -n 3 --dist worksteal -m "not slow" $(ARGS)

test-slow: $(READY)
	$(KEEP_BYTE_CODE) $(BIN)/python -m pytest -m slow $(ARGS)

lint: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "ruff>=0.12"
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

bench: $(READY)
	$(BIN)/python benchmarks/throughput.py $(ARGS)

docs: export NO_MKDOCS_2_WARNING := 1
docs: $(READY)
	$(BIN)/python docs/build.py
	$(BIN)/python -m mkdocs build --strict $(ARGS)
	@echo "open site/index.html, or with a search: $(BIN)/python -m http.server --bind 127.0.0.1 -d site"

notebooks: $(READY)
	$(BIN)/python notebooks/build.py $(ARGS)

# Builds dist/ and tries the wheel in an environment of its own (LICA_JAX_PYTHON: of which Python).
wheel: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "build>=1.2"
	rm -rf dist
	LICA_JAX_DIST=dist $(BIN)/python -m pytest -m slow tests/packaging $(ARGS)

$(READY): pyproject.toml $(CONSTRAINTS)
	@test -n "$(PYTHON)" || { echo "lica_jax needs Python 3.11 or newer; none was found on PATH" >&2; exit 2; }
	@echo "setting up $(VENV) with $$($(PYTHON) --version) (about a minute, once)"
	@$(PYTHON) -m venv --clear $(VENV) || { echo "python -m venv failed; on Debian install python3-venv" >&2; exit 2; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-compile \
		-c $(CONSTRAINTS) -e '.[test]'
	@$(KEEP_BYTE_CODE) $(BIN)/python -c 'import lica_jax.cli.train, lica_jax.runs.session, \
		lica_jax.runs.learning_curve, lica_jax.envs.jaxmarl_import, orbax.checkpoint'
	@touch $(READY)

clean:
	rm -rf $(VENV) .cache dist build site
