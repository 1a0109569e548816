#!/usr/bin/env bash
# Packs the images of the cluster into .cache/cluster/images, where their files changed: all, or those that are named.
set -euo pipefail
. "$(dirname "$0")/env.sh"
mkdir -p "$images"
wanted=" ${*:-all} "

# image NAME ENTRYPOINT ARGUMENT…: the arguments are those of tools/images/mkimage.
image() {
	local name=$1 entrypoint=$2 out=$images/$1.tar arg new=
	shift 2
	[[ "$wanted" = " all " || "$wanted" == *" $name "* ]] || return 0
	for arg in "$here/images.sh" "$bin/mkimage" "$@"; do
		[[ "$arg" != *@* && "$arg" != */ ]] || continue # a link or an empty folder
		if [ ! -e "$out" ] || [ "${arg%%=*}" -nt "$out" ]; then new=1; fi
	done
	[ -n "$new" ] || return 0
	mkimage -o "$out.part" -name "localhost/$name:1" -entrypoint "$entrypoint" "$@"
	mv "$out.part" "$out"
}

applets=()
for a in sh ls cat echo sleep mount umount df dd sha256sum md5sum stat touch rm mkdir chmod chown ps id env grep head tail \
	tr true false test sync nslookup tar gzip sed awk cp mv ln du date uname hostname find wc hexdump cmp; do
	applets+=("busybox@/bin/$a")
done
image pause /pause "$bin/pause=/pause"
image coredns /coredns "$bin/coredns=/coredns"
image fileserver /fileserver "$bin/fileserver=/fileserver" /tmp/
image box "" "$(realpath /bin/busybox)=/bin/busybox" "${applets[@]}" "$bin/fetch=/bin/fetch" "$bin/digest=/bin/digest" /tmp/
