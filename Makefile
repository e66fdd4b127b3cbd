# `make help` lists what there is. Needs GNU make >= 3.81, a POSIX shell and Python >= 3.11; the rest is installed
# into folders of its own: .venv here, and the interop environment in the user's cache.

PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin

# Stamps: a target whose inputs have not changed costs nothing the second time.
RUN := $(VENV)/.run-installed
DEV := $(VENV)/.dev-installed

PIP_FLAGS := --quiet --disable-pip-version-check
PYTEST_FLAGS ?= -n auto --dist loadgroup
# More for pytest, as in `make test ARGS="-k policy"`.
ARGS ?=
STAGE := sh tools/stage.sh

.DEFAULT_GOAL := help
.PHONY: help venv demo test pytest unit e2e image lint format requirements bench lock interop-venv tools system go-tools \
	chart test-kubernetes dist clean

help: ## this list
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

demo: $(RUN) ## watch a dozen jobs go from queues to containers (ten as processes), on this machine
	@$(BIN)/launch-agent demo $(ARGS)

venv: $(DEV) ## the environment for working on the code, in .venv

# All stages run, whatever the one before said. In CI the wandb client must be there; elsewhere its tests are left
# out where it cannot be installed. (make runs a line that calls make even with -n: this one calls nothing else.)
test: $(DEV) ## lint and all tests; as root on Debian also installs the programs they need
	@failed=0; \
	for stage in tools interop-venv lint chart pytest; do \
		$(STAGE) $$stage $(MAKE) -s $$stage || test $$stage$$CI = interop-venv || failed=1; \
	done; \
	exit $$failed

# What cannot run here skips itself; the summary names it and says why.
pytest: $(DEV) ## all tests, without lint and without installing anything
	@$(BIN)/python -m pytest $(PYTEST_FLAGS) $(ARGS)

e2e: tools ## the whole chain: an image of the agent, the chart on a real node, jobs to their ends
	@$(BIN)/python -m pytest -n 0 -ra tests/e2e/test_chain.py $(ARGS)

# Built by an engine where one answers; without one: make image ARGS="--daemonless --to oci-layout:DIR".
image: $(DEV) ## the agent's image for the chart's default values, which build nothing
	@$(BIN)/launch-agent image build -c charts/launch-agent/ci/minimal-values.yaml -t launch-agent:local $(ARGS)

unit: $(DEV) ## only the tests that need no Docker engine, no wandb client, no Helm and no cluster
	@$(BIN)/python -m pytest $(PYTEST_FLAGS) -m "not docker and not interop and not chart and not cluster and not slow" $(ARGS)

lint: $(DEV) ## style, types, generated files and lock files
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet || { echo "run 'make format'" >&2; exit 1; }
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/mypy --no-error-summary --explicit-package-bases tools schemas benchmarks tests/architecture
	@$(BIN)/python schemas/bundle.py --check
	@$(BIN)/python -m tools.commands --check
	@$(BIN)/python tools/locks.py

chart: $(DEV) ## the chart's lint and its own unit tests (chart-testing, helm-unittest)
	@$(BIN)/python -m tools.chart_lint

# The programs of VERSION are built into the cache, which takes some minutes the first time.
test-kubernetes: $(DEV) ## the chart's tests against another Kubernetes: make test-kubernetes VERSION=1.34.4
	@test -n "$(VERSION)" || { echo "which? make test-kubernetes VERSION=1.34.4" >&2; exit 2; }
	@$(MAKE) -s go-tools
	@$(BIN)/python -m tools.go_tools --strict --kubernetes $(VERSION)
	@LAUNCH_AGENT_TEST_KUBERNETES=$(VERSION) $(BIN)/python -m pytest $(PYTEST_FLAGS) tests/chart $(ARGS)

format: $(DEV) ## rewrite the Python files in the house style
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix --quiet

requirements: $(DEV) ## which promises of the documents are shown by tests
	@$(BIN)/python tools/requirements.py $(ARGS)

bench: $(DEV) ## measure, print, and store in benchmarks/results/
	@$(MAKE) -s tools
	@$(MAKE) -s interop-venv
	@$(BIN)/python -m benchmarks $(ARGS)

tools: system go-tools ## what the tests use and pip cannot install

go-tools: $(DEV) ## helm, ct, a Kubernetes cluster, stores of clouds, built once into the user's cache
	@$(BIN)/python -m tools.go_tools
	@$(BIN)/python -m tools.custom_resources
	@$(BIN)/python -m tools.emulators

system: ## Debian's part of it: installed as root on Debian or Ubuntu, named with what is left out elsewhere
	@sh tools/system.sh

interop-venv: $(DEV) ## the real wandb client, in an environment of its own in the user's cache
	@$(BIN)/python tools/interop_venv.py

dist: $(DEV) ## wheel and source distribution, in dist/
	@rm -rf dist
	@$(BIN)/python -m hatchling build

clean: ## remove what make made here (what is in the user's cache stays)
	rm -rf $(VENV) dist build .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Universal locks: one file for every supported Python on Linux and macOS, with hashes, and without the address
# of any index, so that pip goes where its own configuration says.
LOCK := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-header --quiet --system-certs $(if $(UPGRADE),--upgrade)

lock: $(DEV) ## solve pyproject.toml into the lock files again (UPGRADE=1 for newer versions)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install $(PIP_FLAGS) uv
	$(LOCK) pyproject.toml requirements/build.in --extra dev -o requirements/dev.lock
	$(LOCK) pyproject.toml requirements/build.in --extra docker --extra server -c requirements/dev.lock \
		-o requirements/run.lock
	$(LOCK) pyproject.toml --extra docker --extra kubernetes --extra aws --extra gcp --extra azure \
		--extra server --extra postgresql --extra image -c requirements/dev.lock \
		-o agent/launch_agent/images/agent/agent.lock
	$(LOCK) requirements/go.in -o requirements/go.lock
	$(LOCK) tests/interop/requirements.txt -o tests/interop/requirements.lock
	$(LOCK) tests/interop/kubernetes.txt -o tests/interop/kubernetes.lock
	@$(BIN)/python tools/locks.py

$(BIN)/python:
	@python=$$(PYTHON="$(PYTHON)" sh tools/python.sh) && echo "making $(VENV) with $$python" && \
		rm -rf $(VENV) && "$$python" -m venv $(VENV)

# The locks are installed first and checked by hash; the project itself then adds nothing to them.
INSTALL_PROJECT := $(BIN)/python -m pip install $(PIP_FLAGS) --no-deps --no-build-isolation --editable .

$(RUN): requirements/run.lock pyproject.toml | $(BIN)/python
	@echo "installing what running needs"
	@$(BIN)/python -m pip install $(PIP_FLAGS) --require-hashes -r requirements/run.lock
	@$(INSTALL_PROJECT)
	@touch $@

$(DEV): requirements/dev.lock $(RUN) | $(BIN)/python
	@echo "installing what testing needs"
	@$(BIN)/python -m pip install $(PIP_FLAGS) --require-hashes -r requirements/dev.lock
	@touch $@
