#!/usr/bin/env bash
# Prints the krew manifest of a release.
#
#   plugins/krew.sh v0.1.0 dist/SHA256SUMS
set -euo pipefail
[ $# = 2 ] || { sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; exit 2; }
version=$1 sums=$2
sed "s/@VERSION@/$version/" "$(dirname "$0")/cdi.yaml.tmpl"
for os in linux darwin windows; do
	for arch in amd64 arm64; do
		ext=tar.gz bin=kubectl-cdi
		[ "$os" != windows ] || ext=zip bin=kubectl-cdi.exe
		file=kubectl-cdi_${version#v}_${os}_$arch.$ext
		sum=$(awk -v f="$file" '$2 == f || $2 == "*" f { print $1 }' "$sums")
		[ -n "$sum" ] || { echo "$sums has no $file" >&2; exit 1; }
		cat <<-YAML
			    - selector:
			        matchLabels:
			          os: $os
			          arch: $arch
			      uri: https://github.com/cdictl/cdictl/releases/download/$version/$file
			      sha256: $sum
			      bin: $bin
		YAML
	done
done
