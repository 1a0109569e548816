# Sourced by every script here: where things lie and what they are called. Sets variables only.
# shellcheck shell=bash disable=SC2034
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=$root/.cache/cluster
bin=$cache/bin       # binaries; also envtest's KUBEBUILDER_ASSETS
images=$cache/images # archives that go into the node
state=$cache/state   # of the running cluster: etcd, keys, volumes, logs
faults=$state/csi/faults
www=$state/www # what the file server in the cluster serves

node=node1
ip=10.250.0.1 # of the node. It lives in its own network namespace, so any private address will do
services=10.96.0.0/16
dns=10.96.0.10
pods=10.244.0.0/24
driver=loop.csi.cdictl.test
PATH=$bin:$PATH:/usr/sbin:/sbin

# One setting for every Go build: mixing two would compile most of Kubernetes twice.
export CGO_ENABLED=0 GOWORK=off GOFLAGS="${GOFLAGS:+$GOFLAGS }-trimpath -buildvcs=false"

die() {
	echo "cluster: $*" >&2
	exit 1
}

# pid1 prints the process that holds the cluster's namespaces, if it runs. A pid alone could be another's by now.
pid1() {
	local pid
	pid=$(cat "$state/pid1" 2>/dev/null) || return 0
	if [[ "$(tr '\0' ' ' 2>/dev/null </proc/"$pid"/cmdline)" == *"$here/node/init.sh"* ]]; then
		echo "$pid"
	fi
}
