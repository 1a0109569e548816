#!/usr/bin/env bash
# Installs the Debian packages that a node needs, with apt-get, as root, and only what is missing.
set -euo pipefail
. "$(dirname "$0")/env.sh"

# A command or file, and the package that has it.
needs=(
	"/usr/sbin/runc runc" "/usr/lib/cni/bridge containernetworking-plugins" "/usr/bin/tini-static tini"
	"/usr/sbin/nft nftables" "/usr/sbin/mkfs.xfs xfsprogs" "/usr/sbin/mkfs.ext4 e2fsprogs" "/usr/bin/openssl openssl"
	"/usr/bin/curl curl" "/bin/busybox busybox-static" "/usr/bin/ps procps" "/usr/bin/unshare util-linux"
	"/sbin/losetup mount" "/sbin/ip iproute2"
)
missing=()
for need in "${needs[@]}"; do
	read -r file package <<<"$need"
	[ -e "$file" ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
command -v apt-get >/dev/null || die "missing: ${missing[*]} (names of Debian packages); install them in this system's way"
[ "$(id -u)" = 0 ] || die "missing: ${missing[*]}; run as root: apt-get install ${missing[*]}"
echo "cluster: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends "${missing[@]}" >/dev/null
