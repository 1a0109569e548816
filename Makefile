# make demo      build, and do the main job once on a real image
# make test      install what the tests need, and pass them all (at most 20 minutes on two cores)
# make test-all  the same and the slower suites; what CI runs
# make help      the rest

.DEFAULT_GOAL := build
.NOTPARALLEL:
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null)
DATE    ?= $(shell git log -1 --format=%cI 2>/dev/null)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.date=$(DATE)
GOBUILD := go build -ldflags '$(LDFLAGS)'

# One setting for every build and test: another would compile most of Kubernetes once more. Only the race detector needs its own.
export CGO_ENABLED := 0
export GOFLAGS := $(GOFLAGS) -trimpath -buildvcs=false

PLATFORMS := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64
GOLANGCI   = $(shell test/tools/build.sh lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint)
GORELEASER = $(shell test/tools/build.sh release github.com/goreleaser/goreleaser/v2)
CRDGEN     = $(shell test/tools/build.sh crdgen sigs.k8s.io/controller-tools/cmd/controller-gen)
API       := kubevirt.io/containerized-data-importer-api/pkg/apis
CRDS      := cmd/internal/crd/generated
FUZZTIME  ?= 8s

# Whether a package's tests need an API server is told by what they import.
WITH_TESTS     = go list -f '{{.ImportPath}} {{.TestImports}} {{.XTestImports}}' ./lib/... ./cmd/... ./examples/... ./test/internal/...
UNIT_PACKAGES  = $(shell $(WITH_TESTS) | grep -v cmd/internal/apitest | cut -d' ' -f1)
API_PACKAGES   = $(shell $(WITH_TESTS) | grep cmd/internal/apitest | cut -d' ' -f1) ./test/api

# A tool that is absent fails a test here, where it would be skipped on a developer's machine.
TESTENV := CDICTL_REQUIRE_TOOLS=1 CDICTL_BIN=bin/cdictl

.PHONY: build
build: ## build bin/cdictl, static, for this machine
	$(GOBUILD) -o bin/ ./cmd/cdictl

# The agent for both architectures, and its image: made by a Go program, no docker. IMAGE names it.
DIST  ?= dist
IMAGE ?= ghcr.io/cdictl/agent:$(VERSION)
AGENTLDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)

.PHONY: image manifest
image: ## pack the agent's image into dist, as docker archives and an OCI layout
	@for a in amd64 arm64; do \
		GOOS=linux GOARCH=$$a go build -ldflags '$(AGENTLDFLAGS)' -o .cache/image/$$a/agent ./cmd/agent; \
	done
	@go run ./cmd/internal/image -name '$(IMAGE)' -out $(DIST) -created '$(DATE)' -version '$(VERSION)' -revision '$(COMMIT)' \
		amd64=.cache/image/amd64/agent arm64=.cache/image/arm64/agent
manifest: build ## write what installs the agent into dist/cdictl-agent.yaml
	@mkdir -p $(DIST)
	@bin/cdictl install --check never --image '$(IMAGE)' >$(DIST)/cdictl-agent.yaml
	@echo $(DIST)/cdictl-agent.yaml

.PHONY: demo
demo: deps build ## do the main job once: serve an image on loopback, import, verify, tell
	test/demo.sh

.PHONY: deps deps-all
deps: ## install what demo and tests need (apt-get, only what is missing)
	@test/deps.sh
deps-all:
	@test/deps.sh all

# The shares add up to 20 minutes. A suite's own timeout only ends what hangs.
.PHONY: test test-suites
test: deps ## pass all tests
	@test/suite.sh -begin
	@$(MAKE) --no-print-directory test-suites
	@test/suite.sh -end
test-suites:
	@test/suite.sh build 180 $(MAKE) --no-print-directory build vet
	@$(TESTENV) test/suite.sh unit 310 go test -timeout 30m $(UNIT_PACKAGES)
	@test/suite.sh layering 40 go test -timeout 30m ./test/layering
	@$(TESTENV) test/suite.sh oracle 210 go test -timeout 30m ./test/oracle
	@$(TESTENV) test/suite.sh faults 270 go test -timeout 30m ./test/faults
	@$(TESTENV) test/suite.sh bounds 190 go test -timeout 30m ./test/bounds

# And these to 60 more. The race detector makes most of our tests five times slower; linter, sources, api and e2e build
# their tools from source where .cache has none: for api and e2e that is Kubernetes, some 8 minutes.
.PHONY: test-all
test-all: deps-all ## test, race, lint, fuzz, layering demonstration, the agent on an API server and on a node
	@test/suite.sh -begin
	@$(MAKE) --no-print-directory test-suites
	@test/suite.sh race 480 $(MAKE) --no-print-directory race
	@test/suite.sh cross-check 90 $(MAKE) --no-print-directory cross-check
	@test/suite.sh linter 180 test/tools/build.sh lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@test/suite.sh lint 90 $(MAKE) --no-print-directory lint
	@test/suite.sh layering-show 30 $(MAKE) --no-print-directory layering
	@test/suite.sh fuzz 270 $(MAKE) --no-print-directory fuzz FUZZTIME=2s
	@$(TESTENV) test/suite.sh hostile 120 go test -timeout 30m ./test/hostile
	@test/suite.sh sources 300 $(MAKE) --no-print-directory sources
	@$(TESTENV) test/suite.sh archive 45 go test -timeout 30m ./test/archive
	@test/suite.sh bench-smoke 120 $(MAKE) --no-print-directory bench BENCH='-quick -only zlib'
	@test/suite.sh crds 60 $(MAKE) --no-print-directory crds-check
	@test/suite.sh api 600 $(MAKE) --no-print-directory test-api
	@test/suite.sh e2e 1200 $(MAKE) --no-print-directory test-e2e
	@test/suite.sh -end

include test/cluster/cluster.mk

.PHONY: vet
vet: ## go vet
	go vet ./...

SERVERS := versitygw:github.com/versity/versitygw/cmd/versitygw fakegcs:github.com/fsouza/fake-gcs-server \
	registry:github.com/distribution/distribution/v3/cmd/registry

.PHONY: servers sources
servers: ## build the servers that sources are tested against
	@for s in $(SERVERS); do test/tools/build.sh $${s%%:*} $${s#*:}; done
sources: build servers ## every source against real servers: forms, broken connections, secrets, the examples of docs/sources
	@CDICTL_REQUIRE_SERVERS=1 go test -p 1 -timeout 30m ./lib/source/s3source ./lib/source/gcssource ./lib/source/registrysource ./lib/containerdisk ./lib/internal/testserver
	@$(TESTENV) go test -v -count=1 -timeout 30m ./test/sources | grep -v '^ *\(---\|===\)'

.PHONY: race
race: ## the unit tests under the race detector; -short spares those that are only long; deflate has one goroutine
	CDICTL_REQUIRE_TOOLS=1 CGO_ENABLED=1 go test -race -short -timeout 30m $(filter-out %/examples/% %/lib/internal/deflate,$(UNIT_PACKAGES))

.PHONY: lint
lint: ## golangci-lint, pinned in test/tools/lint
	$(GOLANGCI) run --allow-parallel-runners ./...

.PHONY: layering
layering: ## show that a forbidden import is found
	LINTER=$(GOLANGCI) test/layering/show.sh

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME
	FUZZTIME=$(FUZZTIME) test/fuzz.sh

.PHONY: table
table: build ## every format by every way, ours beside qemu-img's; writes the table of docs/formats.md
	$(TESTENV) go test -v -count=1 -run TestDigests -timeout 30m ./test/oracle -args -write | grep -v '^ *\(---\|===\)'

.PHONY: hostile
hostile: build ## files and servers that lie: exit code, seconds, peak memory and message of each
	$(TESTENV) go test -v -count=1 -timeout 30m ./test/hostile | grep -v '^ *\(---\|===\)'

.PHONY: archives
archives: build ## tars that want to get out of their folder: exit code, seconds and message of each
	$(TESTENV) go test -v -count=1 -timeout 30m -run TestHostile ./test/archive | grep -v '^ *\(---\|===\)'

.PHONY: bench
bench: ## beside the peers that are installed; BENCH has flags of ./test/bench
	go run ./test/bench $(BENCH)

.PHONY: cross cross-check
cross-check: ## check the types of all packages for macOS and Windows
	go run ./test/cross darwin/arm64 windows/amd64
cross: ## build and vet for every system that we release for
	@for p in $(PLATFORMS); do \
		echo "build $$p"; GOOS=$${p%/*} GOARCH=$${p#*/} go build -o /dev/null ./cmd/cdictl; \
	done
	@for p in darwin/arm64 windows/amd64; do \
		echo "vet $$p"; GOOS=$${p%/*} GOARCH=$${p#*/} go vet ./lib/... ./cmd/...; \
	done

.PHONY: release-check
release-check: ## would a release be made?
	$(GORELEASER) check goreleaser.yaml

.PHONY: docs
docs: build ## write the command line reference into docs/cli
	rm -rf docs/cli
	bin/cdictl docs --format markdown docs/cli

# Generated in the main module, so that the fields of Kubernetes are those of its go.mod.
.PHONY: crds crds-check
crds: ## generate the CustomResourceDefinitions from the API module
	rm -f $(CRDS)/*.yaml
	$(CRDGEN) crd paths=$(API)/core/v1beta1 paths=$(API)/forklift/v1beta1 output:crd:dir=$(CRDS)
crds-check: ## are the committed ones what `make crds` would write?
	rm -rf .cache/crds
	$(CRDGEN) crd paths=$(API)/core/v1beta1 paths=$(API)/forklift/v1beta1 output:crd:dir=.cache/crds
	diff -r $(CRDS) .cache/crds

.PHONY: vulncheck
vulncheck: ## known vulnerabilities in what we link; needs vuln.go.dev
	go run golang.org/x/vuln/cmd/govulncheck@v1.1.4 ./...

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist .cache

.PHONY: help
help: ## what can be made
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
