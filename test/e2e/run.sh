#!/usr/bin/env bash
# Runs the end-to-end suites: builds cdictl, the agent and its image, puts the agent on a cluster, and tests it there.
#
#   test/e2e/run.sh [FLAG OF GO TEST…]      such as -run TestMatrix, or -v for what the tests that pass have to tell
#
# Without more it brings up a test/cluster (root; see test/cluster/README.md) and ends it afterwards, unless it ran already.
# On a cluster of your own (kind, or any other):
#
#   E2E_KUBECONFIG   of that cluster
#   E2E_LOAD         a command that puts an image archive into its nodes, such as "kind load image-archive";
#                    "true" if the images are there
#   E2E_CLASSES      StorageClasses to try; default: the cluster's default
#   E2E_INSTALL      more flags for cdictl install
#
# Tests that kill parts of a node are left out there.
set -euo pipefail
. "$(dirname "$0")/../cluster/env.sh"
cd "$root"
export E2E_BIN=$root/.cache/e2e/bin E2E_WORK=$root/.cache/e2e/images
image=agent.test/cdi-agent:e2e
mkdir -p "$E2E_BIN" "$E2E_WORK"

command -v qemu-img >/dev/null || test/deps.sh
CGO_ENABLED=0 nice -n 10 go build -trimpath -o "$E2E_BIN/" ./cmd/cdictl ./cmd/agent
nice -n 10 go test -c -o "$E2E_BIN/e2e.test" ./test/e2e
"$here/deps.sh"
"$here/build.sh" "$(if [ -z "${E2E_KUBECONFIG:-}" ]; then echo node; else echo images; fi)"
"$here/images.sh" box fileserver
arch=$(go env GOARCH)
go run ./cmd/internal/image -name "$image" -out "$E2E_BIN" -version e2e "$arch=$E2E_BIN/agent" >/dev/null
agent=$E2E_BIN/cdictl-agent_linux_$arch.tar
export E2E_INSTALL="--image $image ${E2E_INSTALL:-}"
test=("$E2E_BIN/e2e.test" -test.timeout 60m)
for flag; do
	case $flag in -run | -count | -v | -failfast | -parallel) flag=-test.${flag#-} ;; esac
	test+=("$flag")
done

cd test/e2e
if [ -n "${E2E_KUBECONFIG:-}" ]; then
	for archive in "$images"/{box,fileserver}.tar "$agent"; do
		${E2E_LOAD:?set it to a command that loads image archives, such as: kind load image-archive} "$archive"
	done
	KUBECONFIG=$(realpath "$E2E_KUBECONFIG") exec "${test[@]}"
fi

if [ -z "$(pid1)" ]; then
	trap '"$here/down.sh"' EXIT
	"$here/up.sh"
fi
"$here/load.sh" "$agent"
"$here/enter.sh" kubectl delete namespace cdi --ignore-not-found # the image has the name of the last one
status=0
E2E_STATE=$state "$here/enter.sh" "${test[@]}" 2>&1 | tee "$root/.cache/e2e/log" || status=$?
if [ "$status" != 0 ]; then # a story of a failed test is long: its first lines once more
	printf '\n== what failed\n'
	grep -E '^ *(--- FAIL|[a-z_]+_test\.go:[0-9]+: )' "$root/.cache/e2e/log" | cut -c1-1000 | tail -n 60
	exit "$status"
fi
