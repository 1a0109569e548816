#!/usr/bin/env bash
# Builds the cluster's binaries from source into .cache/cluster/bin, group by group, where sources or versions changed.
#
#   test/cluster/build.sh api      etcd, kube-apiserver, kube-controller-manager, kubectl (for envtest too)
#   test/cluster/build.sh node     the same, and all that a node needs (the default)
#   test/cluster/build.sh images   what runs in the images of the tests
#   test/cluster/build.sh sanity   csi-sanity
#
# On two idle cores and from an empty Go cache, api takes 6 minutes and node 2 more. GOFLAGS=-p=1 leaves a core to others.
set -euo pipefail
. "$(dirname "$0")/env.sh"
cd "$here/tools"

# group NAME MODULE SOURCES PACKAGE…: builds packages of a module, unless they were built from the same versions, the
# same flags and the same SOURCES (folders with code of ours, with spaces between).
group() {
	local name=$1 module=$2 sources=$3 key stamp=$bin/.$1.key part=$bin/.$1.part
	shift 3
	key=$(cd "$module" && {
		echo "$(ldflags)" "$@"
		go env GOVERSION GOOS GOARCH
		cat go.mod go.sum
		# shellcheck disable=SC2086
		[ -z "$sources" ] || find $sources -name '*.go' | sort | xargs cat
	} 2>/dev/null | sha256sum | cut -c1-16)
	[ "$(cat "$stamp" 2>/dev/null)" != "$key" ] || return 0

	echo "cluster: building $name; the log of a first build is silent for minutes"
	rm -rf "$part" "$stamp"
	mkdir -p "$part"
	(cd "$module" && nice -n 19 go build -ldflags "$(ldflags)" -o "$part/" "$@")
	[ ! -f "$part/server" ] || mv "$part/server" "$part/etcd" # etcd's main package is called server
	mv -f "$part"/* "$bin/"
	rmdir "$part"
	echo "$key" >"$stamp"
}

# Without these every component of Kubernetes calls itself v0.0.0-master, and clients go by the version.
ldflags() {
	local version package
	version=$(awk '$1 == "k8s.io/kubernetes" { print $2 }' "$here/tools/node/go.mod")
	printf -- '-s -w'
	for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
		printf -- " -X $package.%s=%s" gitVersion "$version" gitMajor 1 gitMinor "$(cut -d. -f2 <<<"$version")" \
			gitCommit module gitTreeState clean buildDate 1970-01-01T00:00:00Z
	done
}

tier=${1:-node}
kubernetes=k8s.io/kubernetes/cmd csi=github.com/kubernetes-csi containerd=github.com/containerd/containerd/v2/cmd
mkdir -p "$bin"
case $tier in
sanity)
	group sanity sanity '' "$csi/csi-test/v5/cmd/csi-sanity"
	exit
	;;
images)
	group images images "digest fetch fileserver mkimage pause" ./digest ./fetch ./fileserver ./mkimage ./pause
	exit
	;;
api | node) ;;
*) die "no tier $tier; there are api, node, images and sanity" ;;
esac
group api node '' go.etcd.io/etcd/server/v3 "$kubernetes/"{kube-apiserver,kube-controller-manager,kubectl}
[ "$tier" = node ] || exit 0
group node node coredns ./coredns "$kubernetes/"{kube-scheduler,kubelet,kube-proxy} \
	"$containerd/"{containerd,containerd-shim-runc-v2,ctr} \
	$csi/external-provisioner/v6/cmd/csi-provisioner $csi/external-attacher/v4/cmd/csi-attacher \
	$csi/external-resizer/v2/cmd/csi-resizer \
	$csi/external-snapshotter/v8/cmd/{csi-snapshotter,snapshot-controller}
group csidriver node csidriver ./csidriver
"$here/build.sh" images

# The types of the snapshots come with the client's module.
crds=$(cd node && go list -m -f '{{.Dir}}' "$csi/external-snapshotter/client/v8")/config/crd
mkdir -p "$cache/crds"
install -m 644 "$crds"/snapshot.storage.k8s.io_*.yaml "$cache/crds/"
