#!/usr/bin/env bash
# Installs what the demo and the tests need, with apt-get, as root or by sudo, and only what is missing.
#
#   test/deps.sh          what `make demo` and `make test` need
#   test/deps.sh all      also what `make test-all` needs
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin # mke2fs, losetup and nginx lie there, and not every user has it

# A command and the Debian package that has it.
needs=(
	"qemu-img qemu-utils" "qemu-io qemu-utils" "nginx nginx-light" "xz xz-utils" "zstd zstd" "bzip2 bzip2"
	"lbzip2 lbzip2" "pigz pigz" "gzip gzip" "curl curl" "nbdcopy libnbd-bin" "mke2fs e2fsprogs"
	"losetup mount" "sfdisk fdisk" "mkfs.vfat dosfstools" "mkfs.xfs xfsprogs" "mkfs.btrfs btrfs-progs" "mkntfs ntfs-3g"
	"mkfs.exfat exfatprogs" "mkfs.f2fs f2fs-tools" "mkfs.erofs erofs-utils" "mksquashfs squashfs-tools" "makefs makefs"
	"xorriso xorriso" "zip zip" "wimlib-imagex wimtools" "ewfacquirestream ewf-tools" "create_compressed_fs cloop-utils"
	"mkswap util-linux" "blkid util-linux" "strace strace" "tinyproxy tinyproxy" "rsync rsync" "setfacl acl" "openssl openssl" "fusermount3 fuse3" "mkfs.ext4 e2fsprogs"
)
if [ "${1:-}" = all ]; then
	needs+=("gcc gcc" "git git" "skopeo skopeo") # the race detector is cgo
fi

missing=()
for need in "${needs[@]}"; do
	read -r command package <<<"$need"
	command -v "$command" >/dev/null || missing+=("$package")
done
if [ "${1:-}" = all ] && command -v gcc >/dev/null && ! echo '#include <stdlib.h>' | gcc -E - >/dev/null 2>&1; then
	missing+=(libc6-dev)
fi
[ ${#missing[@]} -gt 0 ] || exit 0
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)

if ! command -v apt-get >/dev/null; then
	echo "missing: ${missing[*]} (names of Debian packages); install them in this system's way" >&2
	exit 1
fi
sudo=()
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || {
		echo "missing: ${missing[*]}; run as root: apt-get install ${missing[*]}" >&2
		exit 1
	}
	sudo=(sudo)
fi
echo "installing: ${missing[*]}"
apt() { "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@"; }
apt update
apt install -y --no-install-recommends "${missing[@]}" >/dev/null
