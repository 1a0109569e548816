# A Kubernetes of one node, for tests: test/cluster/README.md. TIER=api is etcd and kube-apiserver only.
TIER ?= node
ARGS ?= get pods -A

.PHONY: cluster-build cluster-up cluster-down cluster-status cluster-smoke kubectl
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
