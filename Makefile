# Every command of this house. They install what they need where they may, and say what is missing elsewhere.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# What `pannier version` and pannier_build_info say of where this was built from.
export PANNIER_REVISION := $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
.PHONY: help run test test-long ci lint supply-chain secrets bench fmt docs ollama ollama-down

help: ## this list
	@awk -F ': .*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Pannier on port 8000 in front of the Ollama on 11434; ARGS="--upstream ..." for more
	@deploy/prerequisites.sh build
	cargo run --release --locked -- serve $(ARGS)

test: ## the whole suite, also on a real Ollama and with real clients
	@deploy/prerequisites.sh test
	@tests/run.sh

test-long: ## what takes long: 100,000 random mixes of texts (MIXES), a kill at each of the first 30 writes and syncs (SWEEP), a million replies of a Redis to clients who leave (REPLIES)
	@deploy/prerequisites.sh test
	MIXES=$${MIXES:-100000} cargo test --locked --test it -- --nocapture texts::mixes::no_mix_ever
	SWEEP=$${SWEEP:-30} cargo test --locked --test it -- --nocapture ledger::sweep
	REPLIES=$${REPLIES:-1000000} cargo test --locked --test tiers -- --nocapture no_reply_goes_to_another

# All is built once, by clippy in place of rustc: to check it first would take every dependency twice. And from nothing:
# what would make a second build shorter nearly doubles the time of the first.
ci: export CARGO_INCREMENTAL = 0
ci: export RUSTC_WORKSPACE_WRAPPER = clippy-driver
ci: export CLIPPY_ARGS = --deny__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__
ci: supply-chain secrets ## all that a change must pass
	@deploy/prerequisites.sh test
	cargo fmt --check
	@tests/run.sh --workspace --all-targets
	RUSTDOC=$(CURDIR)/.ci/rustdoc cargo test --locked --doc
	cargo check --locked --no-default-features --bins

lint: ## what is soonest seen of it: formatting, clippy, the documentation's links
	@deploy/prerequisites.sh build
	cargo fmt --check
	cargo clippy --locked --workspace --all-targets -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" cargo doc --locked --no-deps --quiet

supply-chain: ## licences, bans and known holes of what is built in, where cargo-deny is installed
	@if cargo deny --version >/dev/null 2>&1; then \
	  cargo deny --locked check bans licenses sources; \
	  if cargo deny fetch db; then cargo deny --locked check --disable-fetch advisories; \
	  else echo "SKIPPED: the check for known holes: their list cannot be fetched"; fi; \
	else \
	  echo "SKIPPED: the supply chain's check: no cargo-deny (cargo install --locked cargo-deny)"; \
	fi

secrets: ## that nothing in the repository looks like a key of somebody's
	@if ! git rev-parse --is-inside-work-tree >/dev/null 2>&1; then \
	  echo "SKIPPED: the search for keys: this is no git checkout"; \
	else \
	  git grep --line-number -I --extended-regexp -f .ci/secrets && exit 1 || test $$? -eq 1; \
	fi

bench: ## every benchmark, written into docs/benchmarks.md
	@deploy/prerequisites.sh bench
	PATH=$$PATH:/usr/sbin:/sbin cargo bench --locked --bench '*'

fmt: ## format everything
	cargo fmt

docs: ## write what is generated: docs/configuration.md, and the code's own documentation
	cargo run --locked --quiet -- config --docs >docs/configuration.md
	cargo doc --locked --no-deps

ollama: ## a real Ollama with small models, at OLLAMA_HOST or 127.0.0.1:11434
	@deploy/prerequisites.sh ollama
	@tests/ollama/real.sh up

ollama-down: ## stop the Ollama that `make ollama` started
	@tests/ollama/real.sh down
