# coterie: environments, checks, tests and the demo.
#
# `make help` lists what there is. Everything is built under .venvs/ from constraints/*.txt by uv,
# which is brought along when it is absent. The user's own index settings hold; nothing here names one.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := help

# Without compiled modules every process start costs seconds; a foreign path would mix environments.
unexport PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME VIRTUAL_ENV
export UV_PYTHON_DOWNLOADS := never
# A mirror that pip is told of by the environment serves uv too.
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif

# The Python of the environments: 3.11 where there is one, else the newest that runs. `make test-core PY=3.12`.
ifndef PY
PY := $(shell "$$(.ci/find-python)" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
endif
ifeq ($(PY),)
$(error coterie needs Python 3.11 or newer: install one, or put it on PATH)
endif

PYTEST_ARGS ?=

VENVS := .venvs
UV := $(or $(shell command -v uv),$(VENVS)/uv/bin/uv)
CORE := $(VENVS)/core-$(PY)
AIRFLOW := $(VENVS)/airflow
PREFECT := $(VENVS)/prefect
BENCHMARKS := $(VENVS)/benchmarks
WORKFLOWS := $(VENVS)/workflows
BACKEND := $(VENVS)/backend
DOCS := $(VENVS)/docs
CORE_PYTHON := $(CORE)/bin/python
AIRFLOW_PYTHON := $(AIRFLOW)/bin/python
PREFECT_PYTHON := $(PREFECT)/bin/python
BENCHMARKS_PYTHON := $(BENCHMARKS)/bin/python

# Programs that tests marked `system` start, and that no Python package brings.
SYSTEM_PROGRAMS := chromium prometheus promtool


.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))


## Environments: one stamp each, so that a second call does nothing and a changed constraint rebuilds.

.PHONY: setup setup-core setup-airflow setup-prefect setup-benchmarks setup-workflows setup-docs setup-backend
setup: setup-core setup-airflow setup-prefect ## Build the environments of the core and of both adapters.
setup-core: $(CORE)/.stamp ## Build the core's environment; PY=3.12 or 3.13 for another Python.
setup-airflow: $(AIRFLOW)/.stamp ## Build the Airflow provider's environment.
setup-prefect: $(PREFECT)/.stamp ## Build the Prefect blocks' environment.
setup-benchmarks: $(BENCHMARKS)/.stamp ## Build the environment of the benchmarks.
setup-workflows: $(WORKFLOWS)/.stamp ## Build the environment with recorded graphs of real workflows.
setup-backend: $(BACKEND)/.stamp ## Build the environment of a trace backend.
setup-docs: $(DOCS)/.stamp ## Build the environment that makes the site of the documents.

# $(1) Python version or nothing, $(2) distributions to install from here, in place, $(3) what else to say or nothing;
# the first prerequisite is the constraints file.
comma := ,
define build
@echo "building $(@D)$(3)"
@[ -x $(@D)/bin/python ] || { python="$$(.ci/find-python $(1))" && $(UV) venv --quiet --python "$$python" $(@D); }
@$(UV) pip install --quiet --exact --compile-bytecode --python $(@D)/bin/python \
	--build-constraints constraints/build.txt -r $< $(2)
@touch $@
endef
ADAPTED_CORE := -e './core[cli$(comma)code-review$(comma)http$(comma)redis]'

$(CORE)/.stamp: constraints/core.txt constraints/build.txt core/pyproject.toml | $(UV)
	$(call build,$(PY),-e './core[cli$(comma)code-review$(comma)http$(comma)llm$(comma)metrics$(comma)redis$(comma)s3$(comma)zstd]')

$(AIRFLOW)/.stamp: constraints/airflow.txt constraints/build.txt core/pyproject.toml airflow_provider/pyproject.toml | $(UV)
	$(call build,,$(ADAPTED_CORE) -e ./airflow_provider,: it takes a minute or two the first time)

$(PREFECT)/.stamp: constraints/prefect.txt constraints/build.txt core/pyproject.toml prefect_blocks/pyproject.toml | $(UV)
	$(call build,,$(ADAPTED_CORE) -e ./prefect_blocks)

$(BENCHMARKS)/.stamp: constraints/benchmarks.txt constraints/build.txt core/pyproject.toml | $(UV)
	$(call build,$(PY),-e './core[redis]')

$(WORKFLOWS)/.stamp: constraints/workflows.txt constraints/build.txt core/pyproject.toml | $(UV)
	$(call build,$(PY),-e ./core)

$(DOCS)/.stamp: constraints/docs.txt constraints/build.txt | $(UV)
	$(call build,$(PY))

$(BACKEND)/.stamp: constraints/backend.txt constraints/build.txt | $(UV)
	$(call build,$(PY))

$(VENVS)/uv/bin/uv:
	@echo "bringing uv"
	@python="$$(.ci/find-python)" && "$$python" -m venv $(VENVS)/uv
	@$(VENVS)/uv/bin/python -m pip install --quiet --disable-pip-version-check uv

# Names and versions only: no addresses, no hashes. The reviewing tools are chosen first and hold everywhere.
COMPILE = $(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --no-header --no-annotate \
	--no-emit-index-url --no-emit-package coterie --no-emit-package airflow-provider-coterie \
	--no-emit-package prefect-coterie

.PHONY: constraints
constraints: | $(UV) ## Choose the newest versions that fit together, into constraints/*.txt.
	@for name in analysis build core airflow prefect benchmarks workflows docs backend; do \
		echo "compiling constraints/$$name.txt"; \
		$(COMPILE) constraints/$$name.in --output-file constraints/$$name.txt; \
	done


## Checks

.PHONY: check check-style check-core check-airflow check-prefect check-docs format
check: check-style check-core check-airflow check-prefect check-docs ## Lint, formatting and types of everything.

check-style: setup-core
	$(CORE)/bin/ruff check
	$(CORE)/bin/ruff format --check

# $(1) environment, $(2) package, $(3) examples. Each environment has its cache: they see different packages.
typecheck = $(1)/bin/mypy --strict --cache-dir .mypy_cache/$(notdir $(1)) $(2)

check-core: setup-core
	$(call typecheck,$(CORE),-p coterie)
	$(call typecheck,$(CORE),$(patsubst deploy/demo/%.py,-m deploy.demo.%,$(wildcard deploy/demo/*.py)))
	$(call typecheck,$(CORE),deploy/observability/desk.py)

check-airflow: setup-airflow
	$(call typecheck,$(AIRFLOW),-p airflow_provider_coterie)
	$(call typecheck,$(AIRFLOW),$(wildcard dags/*.py deploy/demo/one-breaker/*_dag.py))

check-prefect: setup-prefect
	$(call typecheck,$(PREFECT),-p prefect_coterie)
	$(call typecheck,$(PREFECT),$(wildcard flows/*.py deploy/demo/one-breaker/*_flow.py))

# The checker is the core's; what it has to see is in the documents' environment.
check-docs: setup-core setup-docs
	$(CORE)/bin/mypy --strict --cache-dir .mypy_cache/docs --python-executable $(DOCS)/bin/python docs/conf.py docs/_extensions/*.py

format: setup-core ## Format the code and mend what can be mended.
	$(CORE)/bin/ruff check --fix
	$(CORE)/bin/ruff format


## Tests

.PHONY: test test-core test-fleet test-journal test-clocks test-docs test-airflow test-prefect test-demo test-workflows test-full test-system coverage
test: test-core test-fleet test-journal test-docs test-airflow test-prefect test-demo test-workflows ## Run every test that needs wheels alone, real schedulers included.

# These share no server and no port, so they run side by side; those of one file stay together.
test-core: setup-core ## Run the core's tests; PY=3.12 or 3.13 for another Python.
	$(CORE_PYTHON) -m pytest tests/core --numprocesses auto --dist loadfile $(PYTEST_ARGS)

test-fleet: setup-core ## Run the tests of what processes share: stores, breakers, pools, limits, agents over the wire; real servers included.
	$(CORE_PYTHON) -m pytest tests/fleet $(PYTEST_ARGS)

test-journal: setup-core ## Run the tests of what is never done twice: the journal's rule, its shell, real kills.
	$(CORE_PYTHON) -m pytest tests/journal $(PYTEST_ARGS)

test-clocks: setup-core ## Run the tests that set a server's clock; they need a C compiler.
	$(CORE_PYTHON) -m pytest tests/fleet -m "compiler and not full" $(PYTEST_ARGS)

test-docs: setup setup-benchmarks setup-docs ## Run every code block of the documents, each in the environment that it is for; build the site.
	COTERIE_AIRFLOW_PYTHON=$(AIRFLOW_PYTHON) COTERIE_PREFECT_PYTHON=$(PREFECT_PYTHON) \
		$(CORE_PYTHON) -m pytest tests/docs $(PYTEST_ARGS)

test-airflow: setup-airflow ## Run the Airflow provider's tests, a real scheduler included.
	$(AIRFLOW_PYTHON) -m pytest tests/airflow $(PYTEST_ARGS)

test-prefect: setup-prefect ## Run the Prefect blocks' tests, a real server included.
	$(PREFECT_PYTHON) -m pytest tests/prefect $(PYTEST_ARGS)

test-demo: setup ## Run the demo's tests: the three engines side by side.
	COTERIE_AIRFLOW_PYTHON=$(AIRFLOW_PYTHON) COTERIE_PREFECT_PYTHON=$(PREFECT_PYTHON) \
		$(CORE_PYTHON) -m pytest tests/demo $(PYTEST_ARGS)

test-workflows: setup-workflows ## Run recorded graphs of real workflows, of thousands of tasks each.
	$(WORKFLOWS)/bin/python -m pytest tests/workflows $(PYTEST_ARGS)

test-full: override PYTEST_ARGS += -m "not system"
test-full: test ## Run every test, those that take minutes included.

test-system: setup setup-backend ## Run the tests that need programs of the operating system, or a trace backend.
	@missing=0; for program in $(SYSTEM_PROGRAMS); do \
		command -v "$$program" >/dev/null || { echo "missing: $$program; install it with your package manager" >&2; missing=1; }; \
	done; exit $$missing
	$(CORE_PYTHON) -m pytest tests/core -m system $(PYTEST_ARGS)
	COTERIE_AIRFLOW_PYTHON=$(AIRFLOW_PYTHON) COTERIE_PREFECT_PYTHON=$(PREFECT_PYTHON) COTERIE_BACKEND_PYTHON=$(BACKEND)/bin/python \
		$(CORE_PYTHON) -m pytest tests/demo -m system $(PYTEST_ARGS)

coverage: setup-core ## Run the core's tests and show which lines none of them reached.
	$(CORE_PYTHON) -m pytest tests/core --cov --cov-report=term-missing $(PYTEST_ARGS)


## Demo and benchmarks

.PHONY: demo demo-breaker bench bench-resilience bench-journal bench-bus bench-telemetry bench-crashes bench-scaling
# Through the environment: no shell reads what is in it.
export REPO
demo: setup ## Review one code base in-process, on Airflow and on Prefect, and compare; REPO=path or URL.
	@$(CORE_PYTHON) -m deploy.demo.run --uv '$(UV)' --airflow-python $(AIRFLOW_PYTHON) --prefect-python $(PREFECT_PYTHON) \
		$(if $(REPO),--repo "$$REPO")

demo-breaker: setup ## Let a DAG and a flow share one circuit breaker while their provider fails and recovers.
	@$(CORE_PYTHON) -m deploy.demo.breaker_run --airflow-python $(AIRFLOW_PYTHON) --prefect-python $(PREFECT_PYTHON)

bench: setup-benchmarks ## Measure scheduling, breakers, limits, pools, durable steps and events beside other libraries.
	$(BENCHMARKS_PYTHON) benchmarks/import_time.py
	$(BENCHMARKS_PYTHON) benchmarks/plan_scheduling.py
	@$(MAKE) --no-print-directory bench-resilience
	@$(MAKE) --no-print-directory bench-journal
	@$(MAKE) --no-print-directory bench-bus
	@$(MAKE) --no-print-directory bench-telemetry

BENCH_ARGS ?=
bench-resilience: setup-benchmarks ## Measure breakers, limits, pools and stores beside other libraries; BENCH_ARGS=--quick.
	$(BENCHMARKS_PYTHON) benchmarks/resilience.py $(BENCH_ARGS)

bench-journal: setup-benchmarks ## Measure durable steps beside LangGraph, DBOS and a bare group commit; BENCH_ARGS=--no-peers.
	$(BENCHMARKS_PYTHON) benchmarks/journal.py $(BENCH_ARGS)

bench-bus: setup-benchmarks ## Measure events and remote tasks beside redis-py, FastStream, taskiq and Celery; BENCH_ARGS=--quick.
	$(BENCHMARKS_PYTHON) benchmarks/bus.py $(BENCH_ARGS)

bench-telemetry: setup-benchmarks ## Measure what spans cost, with nobody who records and with OpenTelemetry's SDK; BENCH_ARGS=--quick.
	$(BENCHMARKS_PYTHON) benchmarks/telemetry.py $(BENCH_ARGS)

bench-crashes: setup-benchmarks ## Kill runs and count what is paid for twice, beside LangGraph and DBOS; BENCH_ARGS='--kills 5'.
	$(BENCHMARKS_PYTHON) benchmarks/crash_points.py $(BENCH_ARGS)

bench-scaling: setup-benchmarks ## Measure and simulate 10 to 10,000 agents; BENCH_ARGS='--calls-per-minute 600 --seconds 20' asks for one fleet.
	$(BENCHMARKS_PYTHON) benchmarks/scaling.py $(BENCH_ARGS)


## The site of the documents

.PHONY: docs docs-serve
docs: setup-docs ## Build the documents as a site, into build/docs; any warning is an error.
	$(DOCS)/bin/python -m sphinx --conf-dir docs --builder html --fail-on-warning --jobs auto \
		--doctree-dir build/doctrees . build/docs
	@echo "open build/docs/index.html, or: make docs-serve"

DOCS_PORT ?= 8000
docs-serve: docs ## Show the site on http://127.0.0.1:8000; DOCS_PORT=8080 for another port.
	$(DOCS)/bin/python -m http.server --bind 127.0.0.1 --directory build/docs $(DOCS_PORT)


## Cleaning

.PHONY: clean distclean
clean: ## Remove caches, reports and the site; the environments stay.
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.* htmlcov build
	find core airflow_provider prefect_blocks tests dags flows benchmarks deploy docs -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## Remove the environments too.
	rm -rf $(VENVS)
