#!/usr/bin/env bash
# Runs a command inside the cluster's namespaces, with KUBECONFIG set and kubectl on the PATH.
#
#   test/cluster/enter.sh kubectl get pods -A
#   test/cluster/enter.sh go test ./test/e2e/...
set -euo pipefail
. "$(dirname "$0")/env.sh"
[ -z "${CLUSTER_INSIDE:-}" ] || exec "$@" # called by what was entered already
pid=$(pid1)
[ -n "$pid" ] || die "not running; start it with: make cluster-up"
exec nsenter -t "$pid" --wd="$PWD" -m -n -p -u -i -C -- \
	env CLUSTER_INSIDE=1 KUBECONFIG="$state/pki/admin.kubeconfig" KUBECACHEDIR="$state/kubectl" PATH="$PATH" "$@"
