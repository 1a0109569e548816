#!/usr/bin/env bash
# Runs every fuzz target for FUZZTIME (default 8s, or a count such as 10000x); finds the targets itself.
# A pattern as first argument takes only the targets whose "package name" matches.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(mktemp)
trap 'rm -f "$out"' EXIT
count=0 failed=0

while read -r pkg target; do
	[[ "$pkg $target" =~ ${1:-} ]] || continue
	count=$((count + 1))
	printf -- '-- %s %s\n' "$pkg" "$target"
	if go test "$pkg" -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-8s}" -fuzzminimizetime 10x >"$out" 2>&1; then
		grep -E 'execs:|^ok' "$out" | tail -n 2
	elif ! grep -qE 'Failing input|panic|FAIL: .*\([0-9]+\.[0-9]+s\)$' <(grep -v "FAIL: $target " "$out") && grep -q 'context deadline exceeded' "$out"; then
		# The budget ended while a worker was in the middle of an input: https://github.com/golang/go/issues/75804
		echo "ended by its budget in the middle of an input; nothing was found"
	else
		cat "$out"
		failed=1
	fi
done < <(grep -rE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*\(' lib cmd |
	sed -E 's#^(.*)/[^/]*:func (Fuzz[A-Za-z0-9_]*).*#./\1 \2#' | sort)

echo "$count fuzz targets"
[ "$count" -gt 0 ] && [ "$failed" = 0 ]
