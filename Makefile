# Every target is one line calling a script, so that all of it works without make.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
export FILE ONCE ROW LONG

help: ## this list
	@scripts/help

setup: ## make .venv from the locks (does nothing when nothing changed)
	@scripts/setup

test: ## everything: lint, types, layers, docs in step, all suites
	@scripts/test

lint: ## ruff: rules and format
	@scripts/lint

types: ## mypy --strict
	@scripts/types

layers: ## import-linter: who may import whom
	@scripts/layers

fast: ## the everyday tests: all but browsers, faults, older versions and judges from outside
	@scripts/fast

demo: ## the one story over real HTTP, then vault on 8600 and bookshop on 8601 (FILE=your export, ONCE=1 to end after the story)
	@scripts/demo

bench: ## what requests cost, and which aims are met; writes bench/results.json (LONG=1: growth, crowds, PostgreSQL, two nodes)
	@scripts/bench

profile: ## where the time of a row goes (ROW=read-one, list-100, create-0, refresh, import, …)
	@scripts/profile

long: ## every round of the tests with faults, races and hostile input (an hour); make test does a few of each
	@scripts/long

flip: ## take each defence away in a copy, one at a time, and show that its tests notice
	@scripts/flip

docs: ## write the generated pages in docs/
	@scripts/docs

build: ## source archive and wheel in dist/
	@scripts/build

system: ## Debian packages the tests and the benchmark want (the only target that uses apt)
	@scripts/system

lock: ## renew the hash-locked requirements
	@scripts/lock

clean: ## remove everything made, except .venv and .tools
	@scripts/clean

.PHONY: help setup test lint types layers fast demo bench profile long flip docs build system lock clean
