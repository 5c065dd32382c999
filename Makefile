# Slipway: everything a contributor runs. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO       ?= go
TOOL     := $(GO) tool -modfile=tools/go.mod
LINT     := $(GO) tool -modfile=tools/lint/go.mod golangci-lint
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -s -w -X github.com/slipway-ci/slipway/internal/version.Version=$(VERSION)
SUPERVISOR := agent/supervisor/embedded/bin/supervisor
PKGS     := ./...

.PHONY: help
help: ## List the targets
	@awk -F':.*## ' '/^[a-z][a-z0-9-]*:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Install what is missing from the distribution (containerd, runc, CNI plugins, mmdebstrap …)
	@scripts/setup.sh

.PHONY: registry
registry: setup ## Start the loopback image registry
	@scripts/registry.sh start

.PHONY: images
images: registry ## Make the container images (cached by a hash of their recipe)
	@scripts/images.sh

.PHONY: supervisor
supervisor: ## Build the static supervisor that the binary embeds
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o $(SUPERVISOR) ./cmd/slipway-supervisor

.PHONY: build
build: supervisor ## Build bin/slipway
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags='$(LDFLAGS)' -o bin/slipway ./cmd/slipway

.PHONY: demo
demo: setup images build ## Set up, start `slipway dev` and run the example application's pipeline
	@scripts/demo.sh up

.PHONY: demo-down
demo-down: ## Stop what `make demo` started
	@scripts/demo.sh down

.PHONY: generate
generate: ## Regenerate proto/gen
	@$(TOOL) buf generate

.PHONY: check
check: check-format check-proto check-lint check-modules ## gofmt, vet, linters, buf, regenerate-and-diff, import directions, module files

.PHONY: check-format
check-format:
	@out=$$(gofmt -l $$(git ls-files '*.go' ':!proto/gen')); [ -z "$$out" ] || { echo "not gofmt'ed:"; echo "$$out"; exit 1; }

.PHONY: check-proto
check-proto:
	@scripts/check-proto.sh

.PHONY: check-lint
check-lint: supervisor
	@$(GO) vet $(PKGS)
	@$(LINT) run $(PKGS)
	@$(GO) test -count=1 ./internal/architecture

.PHONY: check-modules
check-modules:
	@$(GO) mod tidy -diff
	@$(GO) mod verify >/dev/null && echo "modules: tidy and verified"

.PHONY: test
test: setup images build ## Unit, integration and end-to-end tests on real components
	@scripts/test.sh

.PHONY: test-unit
test-unit: ## The tests that need nothing but Go
	@$(GO) test -short $(PKGS)

.PHONY: race
race: setup images build ## The tests under the race detector
	@RACE=-race scripts/test.sh

.PHONY: oracle
oracle: ## Ask GitHub's npm package for the answers that expressions are held against, anew (needs node and npm)
	@cd pipeline/expr/testdata/oracle && npm ci --ignore-scripts --no-audit --no-fund --silent && node oracle.mjs
	@$(GO) test -count=1 -run TestOracle ./pipeline/expr

.PHONY: fuzz
fuzz: ## Fuzz every parser for FUZZTIME (default 30s) each
	@scripts/fuzz.sh

.PHONY: soak
soak: ## Simulate SEEDS (default 5000) from FROM (default 0) in PROCS processes; resumable; appends to e2e/simulation/LEDGER.md
	@scripts/soak.sh

.PHONY: faults
faults: setup images build ## kill -9 of agent, containerd and shims under load (KILLS=1:100, seeds of three kills each), of a coordinator (CRASHES=200), then 200 simulated fleets
	@scripts/faults.sh

.PHONY: bench
bench: setup images build ## Benchmarks against the raw tools; writes bench/results.json
	@SLIPWAY_TEST_REGISTRY="$${SLIPWAY_REGISTRY_ADDR:-127.0.0.1:7430}" $(GO) run ./bench -out bench/results.json
