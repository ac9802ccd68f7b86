# The only task runner. Needs cargo (Rust 1.95 or newer), npm, a C compiler, curl, Python 3, PostgreSQL and MariaDB; on
# Debian, as root, it installs all but cargo when they are missing. CARGO_TARGET_DIR may be set from outside.
# WAGATE_TEST_ENGINES=sqlite leaves the two servers out.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo run check test bench plugins guests frontend dist derived api-docs tools

export CARGO_TARGET_DIR := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
PRODUCT := $(CARGO_TARGET_DIR)/product/wagate
# What others wrote and ours is tried against: a client of WhatsApp, a library that checks signatures.
PEERS := tests/baileys tests/signatures
# One selection of packages and features for all commands, so that cargo builds the dependencies once.
EVERYTHING := --workspace --features wagate/demo

help: ## What there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: tools ## Everything at work against a simulated WhatsApp, on loopback only (ARGS=--once to end by itself)
	cargo build --locked $(EVERYTHING) --bin wagate
	$(CARGO_TARGET_DIR)/debug/wagate demo $(ARGS)

run: tools ## The gateway against the real WhatsApp (ARGS='--port 9000')
	cargo run --locked -p wagate -- serve $(ARGS)

check: tools ## Format, lints (of the product without the demo too), documentation
	cargo fmt --all -- --check
	cargo clippy --locked $(EVERYTHING) --all-targets -- -D warnings
	cargo clippy --locked -p wagate -- -D warnings
	cargo metadata --locked --format-version 1 --manifest-path tests/bench/plugin/Cargo.toml >/dev/null # its lock file
	RUSTDOCFLAGS='-D warnings' cargo doc --locked $(EVERYTHING) --no-deps --document-private-items --lib

# Engines that are servers, and a program that runs a command with one of each, started for it and gone with it.
SERVERS := $(if $(filter sqlite,$(WAGATE_TEST_ENGINES)),,postgres mysql)
WITH_ENGINES := $(CARGO_TARGET_DIR)/debug/with-engines
KILL := $(CARGO_TARGET_DIR)/debug/bench-kill
# Tests that touch no store, or choose their engines themselves: they need no second run on another engine.
ONCE := baileys:: catalog::cli:: config:: disk:: egress:: examples:: guide:: house:: plugin::host:: plugin::hostile:: \
	plugin::languages:: product:: server:: simulator:: store::file:: oracle_conforms:: webhook::faults:: \
	webhook::signatures::

# What failed is said in a few lines at the end, and backtraces would bury it. The tests run two programs: the product,
# without the demo's trust in a simulated network, and the demo build.
test: export RUST_BACKTRACE := 0
test: tools check guests $(PEERS:%=%/node_modules) ## Check, then every test, those of the store on each engine
	cargo build --locked -p wagate
	install -D $(CARGO_TARGET_DIR)/debug/wagate $(PRODUCT)
	cargo build --locked $(EVERYTHING) --bins
	$(WITH_ENGINES) cargo test --locked $(EVERYTHING)
	$(WITH_ENGINES) tests/engines/each.sh $(SERVERS) -- cargo test --locked $(EVERYTHING) --test it -- $(ONCE:%=--skip %)
	$(KILL)
	tests/engines/each.sh $(SERVERS) -- bash -ec '$(KILL) --engine $$WAGATE_TEST_ENGINE; $(KILL) --engine $$WAGATE_TEST_ENGINE --server'

$(PEERS:%=%/node_modules): %/node_modules: %/package-lock.json
	npm ci --prefix $* --ignore-scripts --no-audit --no-fund
	touch $@

bench: tools ## One measurement: BENCH=kill, sessions, inbound, neighbour, delivery, endpoints, webhook, store or plugin (ARGS='--engine postgres' for kill and store)
	@test -n '$(BENCH)' || { echo 'say which: make bench BENCH=name, one of: kill plugin' $(basename $(notdir $(wildcard tests/bench/*.rs))) >&2; exit 2; }
ifeq ($(BENCH),plugin)
	tests/bench/plugin/run.sh $(CARGO_TARGET_DIR)/bench-plugin
else
	cargo build --locked --release $(EVERYTHING) --bins
	$(CARGO_TARGET_DIR)/release/bench-$(BENCH) $(ARGS)
endif

# Guests are built by compilers of their own, in a folder of their own.
GUESTS := $(CARGO_TARGET_DIR)/plugins
GUEST_CARGO := CARGO_TARGET_DIR=$(GUESTS) cargo

plugins: tools ## Build all plugins and write plugins/dist (CHECK=1: test them, and compare with what is committed)
	CARGO_TARGET_DIR=$(GUESTS) plugins/ci/build.sh $(GUESTS)/built
ifeq ($(CHECK),)
	for wasm in plugins/dist/*.wasm; do install -m 644 $(GUESTS)/built/$$(basename $$wasm) $$wasm; done
	install -m 644 $(GUESTS)/built/built-with plugins/dist/built-with
else
	cd plugins && $(GUEST_CARGO) fmt --all -- --check
	cd plugins && $(GUEST_CARGO) clippy --locked --workspace --all-targets -- -D warnings
	cd plugins && $(GUEST_CARGO) test --locked --workspace
	npm test --silent --prefix plugins/script
	plugins/ci/compare.sh $(GUESTS)/built
endif

# What a guest is made of, and what is done to it. Where nothing of it has changed, nothing is done again.
OF_GUESTS = Makefile $(wildcard $(shell git -c safe.directory='*' ls-files --cached --others --exclude-standard plugins wit))
LANGUAGES := script rust javascript c python

guests: $(GUESTS)/checked $(LANGUAGES:%=$(GUESTS)/readme/%/commands) ## Check the plugins; build one in each language by the steps of plugins/README.md

.SECONDEXPANSION:
$(GUESTS)/checked: $$(OF_GUESTS)
	$(MAKE) plugins CHECK=1
	touch $@

# After `checked`, which installs tools. In a folder of cargo's own: it would mix up two plugins of one name.
$(GUESTS)/readme/%/commands: $$(OF_GUESTS) | $(GUESTS)/checked
	CARGO_TARGET_DIR=$(GUESTS)/readme/target plugins/ci/readme.sh $* $(@D)

frontend: ## Nothing to build yet
	@echo 'There is no dashboard to build yet: this version is used through its API.'

dist: tools ## The product, optimised, as dist/wagate in the target folder
	cargo build --locked --release -p wagate
	install -D $(CARGO_TARGET_DIR)/release/wagate $(CARGO_TARGET_DIR)/dist/wagate
	@ls -l $(CARGO_TARGET_DIR)/dist/wagate

api-docs: derived ## Write api-docs.yaml and examples/gateway.toml anew from the program
derived: tools
	cargo build --locked -p wagate
	$(CARGO_TARGET_DIR)/debug/wagate export openapi > api-docs.yaml
	$(CARGO_TARGET_DIR)/debug/wagate export config > examples/gateway.toml

# Packages start no service of their own: policy-rc.d forbids it while they are installed.
tools:
	@command -v cargo >/dev/null || { echo 'cargo is missing: install Rust 1.95 or newer' >&2; exit 1; }
	@missing=(); \
	command -v cc >/dev/null || missing+=(gcc libc6-dev make); \
	command -v npm >/dev/null || missing+=(nodejs npm); \
	command -v curl >/dev/null || missing+=(curl); \
	command -v python3 >/dev/null || missing+=(python3); \
	if [[ -n '$(SERVERS)' ]]; then \
		compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null || missing+=(postgresql); \
		[[ -x /usr/sbin/mariadbd ]] || command -v mariadbd >/dev/null || missing+=(mariadb-server-core); \
		command -v my_print_defaults >/dev/null || missing+=(mariadb-client); \
	fi; \
	command -v nats-server >/dev/null || [[ -x /usr/sbin/nats-server ]] || missing+=(nats-server); \
	if (( $${#missing[@]} )); then \
		command -v apt-get >/dev/null || { echo "please install: $${missing[*]}" >&2; exit 1; }; \
		if [[ ! -e /usr/sbin/policy-rc.d ]]; then \
			printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; \
			trap 'rm -f /usr/sbin/policy-rc.d' EXIT; \
			chmod +x /usr/sbin/policy-rc.d; \
		fi; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$${missing[@]}"; \
	fi
