# `make help` lists what there is.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -eu -o pipefail -c

VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
export PATH := $(BIN):$(PATH)
export ANCHORAGE_LAB ?= up
# Ansible forks for every task: without compiled modules each fork would compile them again.
unexport PYTHONDONTWRITEBYTECODE
ROLE_TESTS := $(patsubst molecule/%/molecule.yml,molecule-%,$(wildcard molecule/*/molecule.yml))

.PHONY: help setup serve up down key test test-fast test-slow test-unit test-services test-molecule test-lab lint bench prove lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  \1\t\2/' | expand -t 18

$(VENV)/.serve: requirements/app.txt requirements/uv.txt requirements/build.txt pyproject.toml
	@bin/install-python app
	@touch $@

$(VENV)/.setup: $(VENV)/.serve requirements/dev.txt
	@bin/install-python dev
	@touch $@

.vault-password:
	@umask 077
	@head -c 32 /dev/urandom | base64 > $@

setup: $(VENV)/.setup .vault-password ## install everything that development, tests and site.yml need
	@bin/install-debian-packages

serve: $(VENV)/.serve ## embedded mode: the service on this machine, nothing installed beside it
	@exec $(BIN)/anchorage serve

up: setup ## the whole stack on a lab VM, a sample corpus, three questions answered over HTTPS
	@$(BIN)/python -m lab.up

down: ## destroy the lab VM of `make up`
	@$(BIN)/python -m lab down $(ANCHORAGE_LAB)

key: ## print the API key of the lab VM's service
	@ansible-vault view "$$($(BIN)/python -m lab directory $(ANCHORAGE_LAB))/secrets/vault.yml" | sed -n 's/^admin_api_key: //p'

lint: $(VENV)/.setup .vault-password ## ruff, mypy, ansible-lint
	@ruff check .
	@ruff format --check .
	@mypy app dashboards lab tests
	@ansible-lint --offline --profile production

test-unit: $(VENV)/.setup ## unit, and API on embedded mode
	@pytest --numprocesses 2 --dist loadfile tests/unit tests/api

test-fast: $(VENV)/.setup .vault-password ## lint, types, unit, API: the inner loop
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint test-unit

test-services: setup ## against real Postgres, Redis and the lab's Qdrant
	@pytest tests/services tests/lab/qdrant_standin

molecule-%: setup
	@start=$$SECONDS
	@molecule test -s $*
	@echo "molecule $*: passed in $$((SECONDS - start)) s"

test-molecule: $(ROLE_TESTS) ## every role on its own lab hosts (molecule-ROLE for one; -j 2 for two at a time)

test-lab: setup ## the lab manager, then the whole stack on one lab VM and on two
	@pytest tests/lab/hosts tests/lab/stack tests/lab/pair

test-slow: setup ## services, lab and roles; what needs lab hosts runs two at a time
	@$(MAKE) --no-print-directory test-services
	@$(MAKE) --no-print-directory --jobs=2 --keep-going --output-sync=target test-lab test-molecule

test: setup ## all of it
	@$(MAKE) --no-print-directory test-fast test-slow

bench: $(VENV)/.setup ## ratios and figures that need no lab
	@$(BIN)/python -m tests.bench

prove: setup ## every figure that the docs promise, measured, into docs/scorecard.md (PART=… for one)
	@$(BIN)/python -m tests.prove $(PART)

lock: $(VENV)/.setup ## pin the dependencies again, with hashes
	@bin/lock

clean: ## forget the virtual environment and the caches
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache dist
