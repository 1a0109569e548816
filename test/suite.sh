#!/usr/bin/env bash
# Runs one suite and holds it to its share of the time.
#
#   test/suite.sh NAME SECONDS COMMAND…   fails if the command does, or if it takes longer
#   test/suite.sh -begin                  forgets what was run
#   test/suite.sh -end                    prints every suite's seconds and the sum
#
# The shares are for two cores and an empty build cache. SUITE_SLACK multiplies them on a slower machine.
set -euo pipefail
cd "$(dirname "$0")/.."
log=.cache/suites
mkdir -p .cache

case $1 in
-begin)
	rm -f "$log"
	exit
	;;
-end)
	echo
	awk -F '\t' '{ printf "%-22s %5d s of %5d\n", $1, $2, $3; t += $2; l += $3 } END { printf "%-22s %5d s of %5d\n", "all", t, l }' "$log"
	exit
	;;
esac

name=$1 share=$(($2 * ${SUITE_SLACK:-1}))
shift 2
printf '\n== %s (at most %d s)\n' "$name" "$share"
start=$SECONDS
status=0
"$@" || status=$?
took=$((SECONDS - start))
printf '%s\t%d\t%d\n' "$name" "$took" "$share" >>"$log"
echo "== $name: $took s of $share"
if [ "$status" != 0 ]; then
	echo "== $name failed (exit $status)" >&2
	exit "$status"
fi
if [ "$took" -gt "$share" ]; then
	echo "== $name took more than its share; make it faster, or say in the Makefile why it may take longer" >&2
	exit 1
fi
