# demo    show all of it on this machine (as root with real packets, else on the record driver)
# test    every test
# verify  what must hold before a change goes in: format, lints, each crate alone, tests, planted
#         bugs found, docs, benches build, instructions of the hot paths are as they were, fuzz
#         targets run a minute each. CI runs this and nothing else.
# histories
#         the long run of the engine's oracle: HISTORIES random histories, SEED to repeat a run
# sim     the long run of the cluster simulator: as long as it is let, or SEEDS seeds; SEED for one
#         that is known
# chaos   the long run of real processes under faults: CHAOS_SECONDS, SEED to repeat a run
# fix     put right what can be put right mechanically
# bench   the measurements; see benches/README.md
# bench-cluster
#         the measurements of clusters of processes, next to etcd if it is installed
# bench-hosts
#         the measurements of the host stream, with thousands of hosts, next to etcd if it is installed
# instructions
#         compare what the hot paths take with benches/baselines.json, or with UPDATE_BASELINES=1
#         write that file anew
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := verify

CARGO ?= cargo
CRATES := topology oracle manifest adminproto hostproto controller agent import lab cli benches \
  simulator tests
# Seconds to each fuzz target.
FUZZ_SECONDS ?= 60
# Histories of the long run; `make verify` runs 200.
HISTORIES ?= 10000
# Seeds of the long run of the simulator; without end if empty.
SEEDS ?=
# Seconds of the long run of faults; `make verify` takes two minutes.
CHAOS_SECONDS ?= 1200
# The seed to run them from; a random one, which is printed, if empty.
SEED ?=

.PHONY: demo test planted histories sim chaos verify fix bench bench-cluster bench-hosts packages format lint \
  alone docs build-benches instructions fuzz deny

demo: packages
	$(CARGO) run --release -- demo $(DEMO_FLAGS)

test: packages
	$(CARGO) test --workspace

# The test of the test: with the feature the bugs are there to be planted. `--workspace`, so that what
# all this depends on has the features that it has in `make test`, and is not built again.
PLANTED := --features spanwire-topology/planted-bugs,spanwire-simulator/planted-bugs
planted:
	RUST_BACKTRACE=0 $(CARGO) test --workspace $(PLANTED) \
	  --test histories --test planted planted

# The names of both tests end alike, so the planted bugs are not among them.
histories:
	SPANWIRE_HISTORIES=$(HISTORIES) $(if $(SEED),SPANWIRE_SEED=$(SEED)) \
	  $(CARGO) test -p spanwire-topology --test histories transactions -- --nocapture

# SPANWIRE_SIM_TRACE=1 tells all that happens.
sim:
	SEEDS=$(SEEDS) SEED=$(SEED) $(CARGO) run --release -p spanwire-simulator

# As root: each controller has a network namespace and one of them a disk of its own.
chaos: packages
	SPANWIRE_CHAOS_SECONDS=$(CHAOS_SECONDS) $(if $(SEED),SPANWIRE_SEED=$(SEED)) \
	  $(CARGO) test -p spanwire-tests --test chaos -- --nocapture

verify: packages format lint alone test planted docs build-benches instructions fuzz deny
	@echo "verify: all of it holds"

fix:
	$(CARGO) fmt --all
	$(CARGO) clippy --workspace --all-targets --fix --allow-dirty --allow-staged

BENCH := $(CARGO) run --release --quiet -p spanwire-benches --
# The engine and the encoding alone: the rest would be built for nothing.
BENCH_ENGINE := $(CARGO) run --release --quiet -p spanwire-benches --no-default-features --
# A run each, smallest first; `metro:--from:snapshot` is `metro --from snapshot`.
SCENARIOS := compute compute-one compute-company cut bytes change link questions metro metro:--from:snapshot

# The runs go to target/bench.jsonl, a JSON object a line, and are shown as tables.
bench:
	for scenario in $(SCENARIOS); do $(BENCH) $${scenario//:/ } --json; done >target/bench.jsonl
	$(BENCH) table <target/bench.jsonl

# Clusters and host streams are measured as they are installed: with the profile that ships.
SHIPPING := --profile shipping -p spanwire-cli -p spanwire-benches
BENCH_SHIPPING := $(CARGO) run --profile shipping --quiet -p spanwire-benches --

CLUSTER_SCENARIOS := writes failover lag restart transfer

# As above, to target/bench-cluster.jsonl.
bench-cluster:
	$(CARGO) build $(SHIPPING)
	for scenario in $(CLUSTER_SCENARIOS); do $(BENCH_SHIPPING) $$scenario --json; done >target/bench-cluster.jsonl
	$(BENCH_SHIPPING) table <target/bench-cluster.jsonl

HOST_SCENARIOS := sessions fanout fanout:--churn fanout:--churn:--large trickle stopped storm idle reconnect

# As above, to target/bench-hosts.jsonl.
bench-hosts:
	$(CARGO) build $(SHIPPING)
	for scenario in $(HOST_SCENARIOS); do $(BENCH_SHIPPING) $${scenario//:/ } --json; done >target/bench-hosts.jsonl
	$(BENCH_SHIPPING) table <target/bench-hosts.jsonl

# The Debian packages that tests and the demo run: installed if this is root, else listed.
packages:
	@.ci/packages

format:
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check

lint:
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy --workspace $(PLANTED) --test histories --test planted -- -D warnings

# A crate that only builds because another one switches a feature on is found here.
alone:
	for crate in $(CRATES); do $(CARGO) check --quiet -p spanwire-$$crate; done
	$(CARGO) check --quiet -p spanwire-cli --no-default-features --features agent

docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --quiet --workspace --no-deps

# Built, not run: a bench that no longer compiles measures nothing. Like the tests, with which it
# shares all it is made of; measurements build it anew, with the compiler's optimizations.
build-benches:
	$(CARGO) build --workspace --bin spanwire-benches

# Counts instead of times, so that a slow-down shows on a machine that does other things as well.
instructions: packages
	$(BENCH_ENGINE) instructions

fuzz:
	FUZZ_SECONDS=$(FUZZ_SECONDS) fuzz/run

# Licences, bans and sources. Advisories need the internet and are left to whoever has it.
deny:
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
	  $(CARGO) deny check licenses bans sources; \
	else \
	  echo "verify: no cargo-deny here, so licences, bans and sources were not checked"; \
	fi
