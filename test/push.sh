#!/usr/bin/env bash
# A container disk of 1 GiB: pushed to a real registry on loopback, listed by skopeo, imported back, pushed again, and an index of two
# platforms. Takes half a minute and 600 MB below TMPDIR; CI does the same with less.
#
#   test/push.sh [SIZE]     SIZE in MiB, default 1024
set -euo pipefail
cd "$(dirname "$0")/.."
size=${1:-1024}
cdictl=${CDICTL_BIN:-bin/cdictl}
registry=$(test/tools/build.sh registry github.com/distribution/distribution/v3/cmd/registry)
work=$(mktemp -d)
trap 'kill "$pid" 2>/dev/null || true; rm -rf "$work"' EXIT
port=$((20000 + RANDOM % 10000))
cat >"$work/config.yml" <<END
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $work/store}}
http: {addr: "127.0.0.1:$port"}
END
OTEL_TRACES_EXPORTER=none "$registry" serve "$work/config.yml" 2>"$work/log" &
pid=$!
for _ in $(seq 600); do
	! curl -sf "http://127.0.0.1:$port/v2/" >/dev/null || break
	sleep 0.1
done
image=docker://127.0.0.1:$port/vms/disk:v1

# A quarter of it is data, half of that does not compress.
for i in $(seq 0 16 $((size - 16))); do
	head -c 2M /dev/urandom
	yes "text of file $i" | head -c 2M || true
done >"$work/data"
for i in $(seq 0 4 $((size / 4 - 4))); do
	dd if="$work/data" of="$work/disk.raw" bs=1M skip="$i" seek=$((i * 4)) count=4 conv=notrunc status=none
done
truncate -s "${size}M" "$work/disk.raw"
rm "$work/data"

say() { printf '\n== %s\n' "$*"; }
say pushed
"$cdictl" push "$work/disk.raw" "$image" --insecure --platform linux/amd64
say listed
skopeo inspect --tls-verify=false "$image"
say imported back
"$cdictl" import -q --insecure "$image" "$work/back.raw"
cmp "$work/disk.raw" "$work/back.raw" && echo equal
say pushed again
"$cdictl" push "$work/disk.raw" "$image" --insecure --platform linux/amd64 --workers 1 -o json | tee "$work/again"
grep -q '"blobsSent": 0' "$work/again" && grep -q '"tagMoved": false' "$work/again"
say an index of two
truncate -s 32M "$work/other.raw"
"$cdictl" push "$work/other.raw" "$image" --insecure --platform linux/arm64 --append-index
for arch in amd64 arm64; do
	rm -f "$work/back.raw"
	"$cdictl" import -q --insecure --platform "linux/$arch" "$image" "$work/back.raw"
	echo "linux/$arch: $(stat -c %s "$work/back.raw") bytes"
	if [ $arch = amd64 ]; then cmp "$work/disk.raw" "$work/back.raw"; else cmp "$work/other.raw" "$work/back.raw"; fi
done
