#!/usr/bin/env bash
# Kills components of the cluster with SIGKILL; each comes back within a second. For tests of faults.
#
#   test/cluster/restart.sh kubelet containerd
set -euo pipefail
. "$(dirname "$0")/env.sh"
for name; do
	pid=$(cat "$state/pids/$name" 2>/dev/null) ||
		die "no component $name; there are: $(cd "$state/pids" 2>/dev/null && echo *)"
	"$here/enter.sh" kill -9 "$pid"
	for _ in {1..1200}; do
		[ "$(cat "$state/pids/$name" 2>/dev/null)" = "$pid" ] || continue 2
		sleep 0.1
	done
	die "$name did not come back; see $state/log/$name.log"
done
