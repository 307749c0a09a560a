# Two commands set up all that they need: `make demo` and `make test`.
PYTHON ?= python3
# Another release of `datasets` on which the loads are tested by each `make test`.
OLDER ?= 2.21.0
# Those on which `make test-versions` tests them.
VERSIONS ?= 2.21.0 3.6.0 4.8.5 5.2.0
# The releases of huggingface_hub on which `make test-doors` makes all calls of its functions, without the Hub.
HUBS ?= 0.24.7 0.35.3 1.33.0 2.4.0
BIN := .venv/bin
# Tests wait for servers and processes more than they compute.
JOBS ?= $(shell $(PYTHON) -c 'import os; print(3 * (os.cpu_count() or 1))')
# The Pythons on which `make test-package` tries the package; default: all from 3.10 to 3.14 that are here.
MINORS ?=
# The releases whose own tests `make test-datasets` runs; and a folder that has them as the repository of
# datasets does (or a folder for each release, by its number), since an sdist leaves some of their files out.
TESTED ?= 4.8.5 5.2.0
DATASETS_TESTS ?=
# How long `make fuzz` looks for a finding.
FUZZ_SECONDS ?= 600
pythons = $(subst $(eval) ,:,$(patsubst %,$(CURDIR)/.venv-datasets-%/bin/python,$(1)))

.PHONY: demo newcomer docs test test-older test-newest test-unit test-package lint types test-versions test-doors test-datasets test-clients test-ray test-faults test-browser test-s3 test-policies test-large audit fuzz bench bench-links bench-scaling clean help
.PRECIOUS: %/.ready

help: ## Show the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

# One rule makes each virtual environment: .venv-NAME has the package and the dependency group NAME of pyproject.toml.
# These differ: .venv is for development; .venv-package lacks the package; .venv-datasets-NUMBER has that release of datasets.
PIP = $*/bin/python -m pip install --disable-pip-version-check $(PIP_OPTIONS)
%/.ready: GROUP = $(*:.venv-%=%)
%/.ready: PACKAGE = --editable .
%/.ready: PIP_OPTIONS = --quiet
.venv/.ready: GROUP = dev
.venv-package/.ready: PACKAGE =
.venv-datasets-%/.ready: GROUP = load-tests
.venv-datasets-%/.ready: PACKAGE = --editable . 'datasets==$(lastword $(subst -, ,$*))'
.venv-hub-%/.ready: GROUP = load-tests
.venv-hub-%/.ready: PACKAGE = --editable . 'huggingface_hub==$(lastword $(subst -, ,$*))'
.venv-datasets-tests-%/.ready: GROUP = datasets-tests
# Only their files that load data are run, which need little of the dozens of packages that they bring.
.venv-clients/.ready: ALONE = 'axolotl>=0.19' lerobot==0.4.4
# Modules are compiled when they are first imported: most of them never are.
.venv-demo/.ready: PIP_OPTIONS = --no-compile

%/.ready: pyproject.toml
	@echo "Making $*: the packages of the group $(GROUP) are downloaded and installed"
	$(PYTHON) -m venv $*
	$(PIP) --upgrade 'pip>=25.1'
	$(PIP) $(PACKAGE) --group $(GROUP)
	$(if $(ALONE),$(PIP) --no-deps $(ALONE))
	touch $@

# The demo runs in the environment for development where that is there already.
DEMO := $(if $(wildcard .venv/.ready),.venv,.venv-demo)

demo: $(DEMO)/.ready ## The main job, end to end, on embedded servers
	$(DEMO)/bin/python demo/run.py

# What other releases of datasets may make a difference to.
LOADS := tests/loads tests/unit/shim tests/unit/hf --ignore=tests/loads/matrix

# Compiled here, since hundreds of processes import the modules, and may not be let write bytecode.
test: ## All checks and tests, and the loads as stock's on another release of datasets
	$(MAKE) .venv/.ready
	$(BIN)/python -m compileall -q hf_localize tests
	$(MAKE) -j4 test-newest lint types test-older

# What differs most between releases; `make test-versions` makes all calls of the fidelity suite on each of them.
test-older: .venv-datasets-$(OLDER)/.ready
	.venv-datasets-$(OLDER)/bin/python -m pytest tests/loads/test_same_as_stock.py tests/unit/shim tests/unit/hf

test-newest:
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --ignore=tests/loads/matrix

# Two processes: each more would spend as long on its imports as it saves.
test-unit: .venv/.ready ## The quick tests of each part of the package, in seconds
	$(BIN)/python -m pytest -n 2 tests/unit

test-loads-%: .venv-datasets-%/.ready
	.venv-datasets-$*/bin/python -m pytest -n $(JOBS) $(LOADS)

test-versions: export HGLOC_TEST_REPORT := $(CURDIR)/build/reports
test-versions: .venv/.ready $(addprefix test-loads-,$(VERSIONS)) ## The loads on each supported release, and each reading what each wrote; writes the README's table
	HGLOC_TEST_PYTHONS=$(call pythons,$(VERSIONS)) $(BIN)/python -m pytest tests/loads/matrix
	$(BIN)/python -m tests.loads.fidelity.report $(HGLOC_TEST_REPORT) README.md 'what works'

test-doors-%: .venv-hub-%/.ready
	HGLOC_TEST_FAULTS=all .venv-hub-$*/bin/python -m pytest -n $(JOBS) tests/loads/doors

test-doors: export HGLOC_TEST_REPORT := $(CURDIR)/build/reports
test-doors: .venv/.ready $(addprefix test-doors-,$(HUBS)) ## Calls of huggingface_hub and of HTTP libraries, on its releases; writes the table of docs/guides/files-and-models.md
	$(BIN)/python -m tests.loads.fidelity.report $(HGLOC_TEST_REPORT) docs/guides/files-and-models.md 'which calls'

test-clients: .venv-clients/.ready ## Libraries that call datasets inside, unchanged, without the Hub
	.venv-clients/bin/python -m pytest -n $(JOBS) tests/loads/clients

# Ray listens on all networks. Here it runs in a network namespace that has only the loopback.
test-ray: .venv-ray/.ready ## The examples on Ray (Linux; Debian: iproute2)
	HGLOC_TEST_FAULTS=all unshare --net --map-root-user sh -c 'ip link set lo up && exec .venv-ray/bin/python -m pytest -k ray tests/docs/test_distributed.py'

docs: .venv-docs/.ready ## The documentation as a site in build/site, every link of it checked
	.venv-docs/bin/python -m website

test-package: .venv-package/.ready ## Wheel and sdist in clean environments: each Python here, oldest and newest dependencies
	.venv-package/bin/python -m tests.release.package $(MINORS)

newcomer: ## What the README tells a newcomer, in a clean home and a clean clone, in five minutes
	$(PYTHON) tests/release/newcomer.py

sitecustomize_example/sitecustomize.py: hf_localize/shim/on_pythonpath/sitecustomize.py
	cp $< $@

lint: .venv/.ready sitecustomize_example/sitecustomize.py ## ruff, and the import layers of ARCHITECTURE.md
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: .venv/.ready ## mypy --strict
	$(BIN)/mypy

test-datasets-%: .venv-datasets-tests-%/.ready
	.venv-datasets-tests-$*/bin/python -m tests.loads.stock $(abspath $(DATASETS_TESTS))

test-datasets: $(addprefix test-datasets-,$(TESTED)) ## Tests of datasets itself, offline, without and with activation

test-faults: .venv/.ready ## Everything that breaks things for real: each kill point, long races, many loads over a flaky wire
	HGLOC_TEST_FAULTS=all $(BIN)/python -m pytest -n $(JOBS) --dist worksteal tests/faults tests/security
	HGLOC_TEST_FAULTS=all $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m sampled tests/unit tests/loads tests/publish tests/commands tests/docs

test-browser: .venv/.ready docs ## The catalog and the documentation in a browser, and pictures for the docs (needs Chromium; Debian: chromium chromium-driver)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group browser
	HGLOC_TEST_BROWSER=1 $(BIN)/python -m pytest tests/commands/catalog tests/docs/test_site.py

test-s3: .venv/.ready ## The S3 tests on a second, independent server (SeaweedFS), and in buckets that keep versions
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group second-s3
	HGLOC_TEST_S3=seaweedfs $(BIN)/python -m pytest -n $(JOBS) -m 's3' tests
	HGLOC_TEST_S3=seaweedfs HGLOC_TEST_S3_VERSIONED=1 $(BIN)/python -m pytest -n $(JOBS) -m 's3' tests/rig tests/publish tests/commands tests/docs --ignore=tests/commands/catalog tests/security/test_refusals.py

test-policies: .venv/.ready ## Each command with exactly the rights of docs/permissions.md, on Ceph's gateway (if it is installed), in a bucket that keeps versions too
	HGLOC_TEST_POLICY_SERVER=ceph $(BIN)/python -m pytest -rs tests/security/policies

audit: .venv-audit/.ready ## Known weaknesses: pip-audit on the dependencies, bandit on hf_localize
	.venv-audit/bin/python tests/release/audit.py

fuzz: .venv-fuzz/.ready ## FUZZ_SECONDS of inputs that grow by coverage, into all parsers of what others wrote
	.venv-fuzz/bin/python -m tests.security.fuzz --seconds $(FUZZ_SECONDS)

test-large: .venv/.ready ## Data of gigabytes and of 20,000 files, in some 20 minutes (needs 36 GB of disk, or scales down)
	$(BIN)/python -m pytest -s -m large tests

bench: .venv-bench/.ready ## Every figure that has a goal, beside what it is compared with, into benchmarks/RESULTS.md
	PATH=$(CURDIR)/.venv-bench/bin:$$PATH .venv-bench/bin/python -m benchmarks

bench-links: .venv-bench/.ready ## The same work as by other programs over links of 10 Gbit/s to 100 Mbit/s, in three quarters of an hour, into docs/performance.md (Linux; Debian: iproute2 curl unzip)
	.venv-bench/bin/python -m benchmarks.links

bench-scaling: .venv-bench/.ready ## How cost grows, as plots into benchmarks/scaling/ (needs 40 GB of disk)
	PATH=$(CURDIR)/.venv-bench/bin:$$PATH .venv-bench/bin/python -m benchmarks.scaling

clean: ## Remove the virtual environments and caches
	rm -rf .venv .venv-* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache dist build
