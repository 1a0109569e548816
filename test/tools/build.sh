#!/usr/bin/env bash
# Builds a tool that a module here pins, unless it was built from the same go.sum by the same Go, and prints its path.
#
#   test/tools/build.sh lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
#
# With CDICTL_TOOLS=built it builds nothing, and fails if the tool is not there: for tests that are skipped without it.
set -euo pipefail
cd "$(dirname "$0")/$1"
package=$2
cache=$(cd ../../.. && pwd)/.cache/tools
key=$( (cat go.mod go.sum; go env GOVERSION GOOS GOARCH) | sha256sum | cut -c1-16)
tool=$cache/$1-$key
if [ ! -x "$tool" ]; then
	[ "${CDICTL_TOOLS:-}" != built ] || exit 1
	mkdir -p "$cache"
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$tool.part" "$package" >&2
	mv "$tool.part" "$tool"
fi
echo "$tool"
