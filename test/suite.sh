#!/usr/bin/env bash
# Runs one suite and watches its share of the time.
#
#   test/suite.sh NAME SECONDS COMMAND…   fails if the command does; says so if it takes longer
#   test/suite.sh -begin                  forgets what was run
#   test/suite.sh -end                    prints every suite's seconds; fails if the sum is over that of the shares
#
# The shares are for two cores and an empty build cache. SUITE_SLACK multiplies their sum on a machine that is shared.
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
	awk -F '\t' -v slack="${SUITE_SLACK:-1}" '
		{ printf "%-22s %5d s of %5d%s\n", $1, $2, $3, $2 > $3 ? ", over" : ""; t += $2; l += $3 * slack }
		END {
			printf "%-22s %5d s of %5d\n", "all", t, l
			if (t > l) { print "the suites took more than their time; make them faster, or say in the Makefile why they may take longer"; exit 1 }
		}' "$log"
	exit
	;;
esac

name=$1 share=$2
shift 2
printf '\n== %s (share: %d s)\n' "$name" "$share"
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
