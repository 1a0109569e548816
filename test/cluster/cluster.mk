# A Kubernetes of one node, for tests: test/cluster/README.md. TIER=api is etcd and kube-apiserver only.
TIER ?= node
ARGS ?= get pods -A

.PHONY: cluster-build cluster-up cluster-down cluster-status cluster-smoke kubectl test-api test-e2e
cluster-build: ## build the parts of the test cluster (the first time takes minutes)
	@test/cluster/build.sh $(TIER)

cluster-up: ## bring the test cluster up (root)
	@test/cluster/up.sh $(TIER)

cluster-down: ## end the test cluster and put back what it changed
	@test/cluster/down.sh

cluster-status: ## what runs in the test cluster
	@test/cluster/status.sh

cluster-smoke: ## try every part of the test cluster, twice from nothing
	@test/cluster/smoke.sh

kubectl: ## kubectl in the test cluster: make kubectl ARGS='get pods -A'
	@test/cluster/enter.sh kubectl $(ARGS)

# A real etcd and kube-apiserver, and no nodes. CDICTL_REQUIRE_TOOLS: without the binaries tests fail, they are not skipped.
test-api: ## tests of the agent on a real API server (at most 10 minutes with a cold build)
	@test/cluster/build.sh api
	CDICTL_REQUIRE_TOOLS=1 KUBEBUILDER_ASSETS=$(CURDIR)/.cache/cluster/bin go test -p 2 -timeout 30m $(API_PACKAGES)

test-e2e: ## tests of the agent on a node: on a test cluster as root, or on that of E2E_KUBECONFIG (see test/e2e/run.sh)
	@test/e2e/run.sh $(E2E)
