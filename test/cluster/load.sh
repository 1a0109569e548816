#!/usr/bin/env bash
# Puts images into the node from archives (OCI layout or docker save), without a registry. Pods use them with any
# imagePullPolicy but Always.
set -euo pipefail
. "$(dirname "$0")/env.sh"
[ $# -gt 0 ] || die "usage: load.sh ARCHIVE…"
for archive; do
	"$here/enter.sh" ctr -n k8s.io images import --local "$(realpath "$archive")" 2> >(grep -v "cgroup v1 is deprecated" >&2)
done
