#!/usr/bin/env bash
# Shows that the layering tests bite: adds a forbidden import (or call) to a copy of the tree, runs them, and fails if
# they pass. With LINTER set to a golangci-lint binary, depguard has to find the imports too.
set -euo pipefail
cd "$(dirname "$0")/../.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
# What git knows and what is new here, without what it ignores.
git ls-files -z --cached --others --exclude-standard |
	while IFS= read -r -d '' f; do [ ! -e "$f" ] || printf '%s\0' "$f"; done |
	tar -c --null -T - | tar -x -C "$copy"

failed=0
# bite NAME PACKAGE-FOLDER MESSAGE LINTED: the Go file on stdin goes into the folder; the test has to say MESSAGE.
bite() {
	local name=$1 dir=$2 message=$3 linted=$4 out
	cat >"$copy/$dir/zz_forbidden.go"
	printf '\n== %s\n' "$name"
	if out=$(cd "$copy" && go test -count=1 ./test/layering -run 'TestArrows|TestCalls$' 2>&1); then
		echo "NOT FOUND by the layering test"
		failed=1
	elif ! grep -F -m 1 -- "$message" <<<"$out"; then
		echo "the test failed, but not for this reason:"
		echo "$out"
		failed=1
	fi
	if [ -n "${LINTER:-}" ] && [ "$linted" = linted ]; then
		if out=$(cd "$copy" && "$LINTER" run --allow-parallel-runners --enable-only depguard "./$dir/..." 2>&1); then
			echo "NOT FOUND by depguard"
			failed=1
		elif ! grep -F -m 1 "(depguard)" <<<"$out"; then
			echo "depguard failed, but not for this reason:"
			echo "$out"
			failed=1
		fi
	fi
	rm "$copy/$dir/zz_forbidden.go"
}

bite "a source that knows a format" lib/source/httpsource "lib/source/httpsource (sources) imports" linted <<'GO'
package httpsource

import _ "github.com/cdictl/cdictl/lib/format/qcow2"
GO
bite "an importer that knows a source" lib/importer "lib/importer (importer) imports" linted <<'GO'
package importer

import _ "github.com/cdictl/cdictl/lib/source/filesource"
GO
bite "a library with a command line" lib/transfer "lib/transfer (movers) imports github.com/spf13/cobra" linted <<'GO'
package transfer

import _ "github.com/spf13/cobra"
GO
bite "a library that reads the environment" lib/verify "uses os.Getenv" - <<'GO'
package verify

import "os"

var forbidden = os.Getenv("HOME")
GO

echo
if [ "$failed" != 0 ]; then
	echo "layering: something forbidden was not found"
	exit 1
fi
echo "layering: all that is forbidden was found"
