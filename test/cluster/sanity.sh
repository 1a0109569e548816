#!/usr/bin/env bash
# Holds the CSI driver against csi-sanity, the conformance suite of csi-test, in a mount namespace of its own. Needs root,
# and no cluster.
set -euo pipefail
. "$(dirname "$0")/env.sh"
[ "$(id -u)" = 0 ] || die "mounts and loop devices need root"
"$here/deps.sh"
"$here/build.sh" node
"$here/build.sh" sanity
work=$(mktemp -d)
finish() {
	kill "$pid" 2>/dev/null || true
	losetup -nO NAME,BACK-FILE | awk -v d="$work/" 'index($2, d) == 1 { print $1 }' | xargs -r -n 1 losetup -d
	rm -rf "$work"
}
pid=
trap finish EXIT
unshare --mount --pid --fork --mount-proc --propagation private --kill-child bash -c '
	set -euo pipefail
	csidriver -name sanity.csi.cdictl.test -node node1 -socket "$1/csi.sock" -state "$1/state.json" \
		-pool "plain=$1/plain" >"$1/log" 2>&1 &
	until [ -S "$1/csi.sock" ]; do sleep 0.1; done
	csi-sanity -csi.endpoint "unix://$1/csi.sock" -csi.mountdir "$1/target" -csi.stagingdir "$1/staging" \
		-ginkgo.no-color -ginkgo.succinct || { tail "$1/log"; exit 1; }
' sanity "$work" &
pid=$!
wait "$pid"
