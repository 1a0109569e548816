#!/usr/bin/env bash
# Tells what runs: processes with their memory, the node, pods that are not well.
set -euo pipefail
. "$(dirname "$0")/env.sh"
if [ -z "$(pid1)" ]; then
	echo "cluster: not running; start it with: make cluster-up"
	exit 1
fi
"$here/enter.sh" ps -eo pid,rss,time,args --sort=-rss | cut -c1-110 | head -n 20
echo
"$here/enter.sh" kubectl get nodes,pods,pv -A
