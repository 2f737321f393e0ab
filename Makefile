# `make` lists the targets. Each does one thing and says what it did.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= /usr/bin/python3
UV := uv==0.13.9
VENV := .venv
BIN := $(VENV)/bin
SOURCES := tre_orchestrator tests workspace_images docs/*.py
APT_UP := bubblewrap python3-venv libmagic1
APT_TEST := $(APT_UP) chromium postgresql
APT_IMAGES := buildah debian-archive-keyring gcc libc6-dev mmdebstrap
APT_CLUSTER := $(APT_IMAGES) bpftool clang-16 containernetworking-plugins etcd-server iproute2 iptables kmod \
  libseccomp-dev llvm-16 nftables pkg-config
LOCK := $(shell sha256sum requirements.lock pyproject.toml 2>/dev/null | sha256sum | cut -c1-16)
DEV_LOCK := $(shell sha256sum requirements-dev.lock pyproject.toml 2>/dev/null | sha256sum | cut -c1-16)

INSTALL := $(BIN)/uv pip install -q --python $(BIN)/python $(if $(PIP_INDEX_URL),--default-index $(PIP_INDEX_URL))
NO_PYPI := { echo "The locked dependencies could not be installed: see above. PyPI must be reached the first time. Connect, or set PIP_INDEX_URL to a mirror, and run make again."; exit 1; }

# Installs the Debian packages in $(1) that are missing: by root, by sudo without a question, else prints the line to run.
# A package that newer releases renamed for 64-bit time counts under its new name.
define apt
	@missing=""; for package in $(1); do \
	  dpkg-query -W -f='$${Status}' $$package $${package}t64 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$package"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	line="apt-get install -y --no-install-recommends$$missing"; \
	if [ "$$(id -u)" = 0 ]; then sudo=""; elif sudo -n true 2>/dev/null; then sudo="sudo"; \
	else echo "These Debian packages are missing:$$missing. Run:  sudo apt-get update && sudo $$line"; exit 1; fi; \
	echo "Installing Debian packages:$$missing"; \
	{ $$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$sudo $$line -qq; } >$(VENV).apt.log 2>&1 \
	  || { tail -n 20 $(VENV).apt.log; echo "Installing$$missing failed: see above. Without network, install them by hand and run make again."; exit 1; }; \
	rm -f $(VENV).apt.log
endef

.PHONY: help up test test-fast test-cluster cluster-build cluster-up cluster-down cluster-shell lint e2e bench docs env lock clean
help: ## List the targets
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

up: $(VENV)/.up-$(LOCK) ## Set everything up and bring the demo TRE up
	$(BIN)/tre up --demo

test: $(VENV)/.dev-$(DEV_LOCK) env ## Install what the tests need and run all of them
	$(BIN)/python -m tests.run

test-fast: $(VENV)/.dev-$(DEV_LOCK) ## Unit and property tests only
	$(BIN)/pytest -q -n 2 -m "not sandbox and not postgres and not browser and not stack and not slow and not cluster"

e2e: $(VENV)/.dev-$(DEV_LOCK) env ## The whole story in a real browser
	$(BIN)/pytest -q -m stack tests/e2e

test-cluster: cluster-build ## Tests on a real Kubernetes cluster: our own, or the one that KUBECONFIG names
	$(BIN)/python -m tests.run cluster

cluster-build: $(VENV)/.dev-$(DEV_LOCK) ## Build the cluster's programs and images (10 to 30 minutes once, then seconds)
	$(call apt,$(if $(KUBECONFIG),$(APT_IMAGES),$(APT_CLUSTER)))
	$(BIN)/python -m tests.cluster.build $(if $(KUBECONFIG),images)

cluster-up: cluster-build ## Start a one-node Kubernetes cluster to try things on
	$(BIN)/python -m tests.cluster up

cluster-down: $(VENV)/.dev-$(DEV_LOCK) ## End that cluster, and remove what killed ones have left
	$(BIN)/python -m tests.cluster down

cluster-shell: $(VENV)/.dev-$(DEV_LOCK) ## A shell on the cluster's node
	@$(BIN)/python -m tests.cluster shell

lint: $(VENV)/.dev-$(DEV_LOCK) ## Format, lint, types, import layers, dead code, secrets, links in the docs
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vulture
	git ls-files | grep -vE '^tests/|^docs/|\.(lock|min\.js|min\.css)$$' | xargs $(BIN)/detect-secrets-hook
	$(BIN)/python docs/generate.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q --strict

bench: $(VENV)/.dev-$(DEV_LOCK) env ## Measure against named peers, paired
	$(BIN)/python -m tests.bench

docs: $(VENV)/.dev-$(DEV_LOCK) ## Build the documentation into site/
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --strict

env: $(VENV)/.up-$(LOCK) ## Build the workspaces' environment (cached by the hash of its pins)
	$(BIN)/tre env build

lock: $(VENV)/.dev-$(DEV_LOCK) ## Update every pinned dependency
	$(BIN)/uv pip compile -q -U --generate-hashes --python $(PYTHON) pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile -q -U --generate-hashes --python $(PYTHON) --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock
	$(BIN)/uv pip compile -q -U --generate-hashes --python $(PYTHON) workspace_images/python/requirements.in -o workspace_images/python/requirements.lock

clean: ## Remove the virtual environment and build leftovers; the state folder stays
	rm -rf $(VENV) site build dist *.egg-info

$(BIN)/uv:
	$(call apt,$(APT_UP))
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11: use Debian 12, Ubuntu 24.04 or newer, or run make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -q --disable-pip-version-check $(UV) || $(NO_PYPI)

$(VENV)/.up-$(LOCK): $(BIN)/uv
	$(call apt,$(APT_UP))
	@echo "Installing the locked dependencies"
	@$(INSTALL) --compile-bytecode --require-hashes -r requirements.lock && $(INSTALL) --no-deps -e . || $(NO_PYPI)
	@$(BIN)/python -m compileall -q tre_orchestrator
	@rm -f $(VENV)/.up-* && touch $@

$(VENV)/.dev-$(DEV_LOCK): $(BIN)/uv
	$(call apt,$(APT_TEST))
	@echo "Installing the locked dependencies for tests"
	@$(INSTALL) --compile-bytecode --require-hashes -r requirements-dev.lock && $(INSTALL) --no-deps -e . || $(NO_PYPI)
	@rm -f $(VENV)/.dev-* && touch $@
