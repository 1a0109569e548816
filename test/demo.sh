#!/bin/sh
# The main job on a real image, in a minute: a root filesystem made of this machine's own files becomes a compressed
# qcow2, is served on loopback, and comes back as a raw disk, verified by its checksum file. The last word is qemu-img's.
#
# DEMO_SIZE  bytes of files to take (default 256 MiB)
# DEMO_RATE  bytes per second that the server sends (default 48 MiB: a good network, and time to see the bar)
# DEMO_KEEP  if not empty, the folder with all that was made stays
set -eu
cd "$(dirname "$0")/.."
size=${DEMO_SIZE:-268435456}
rate=${DEMO_RATE:-50331648}
work=$(mktemp -d "${TMPDIR:-/tmp}/cdictl-demo.XXXXXX")
server=
finish() {
	code=$?
	trap - EXIT
	if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; fi
	if [ -n "${DEMO_KEEP:-}" ]; then
		echo "kept: $work"
	else
		rm -rf "$work"
	fi
	exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '\n%s\n' "$*"; }
show() { # a command, as a user would type it, and what it says
	printf '$ cdictl'
	for arg; do printf ' %s' "$arg"; done
	printf '\n'
	"$work/cdictl" "$@"
}

PATH=$PATH:/usr/sbin:/sbin # mke2fs lives there
for tool in go qemu-img mke2fs e2fsck sha256sum; do
	command -v "$tool" >/dev/null || {
		echo "$tool is missing; test/deps.sh installs what is needed" >&2
		exit 1
	}
done

say "Build"
CGO_ENABLED=0 go build -o "$work/cdictl" ./cmd/cdictl
CGO_ENABLED=0 go build -o "$work/fileserver" ./examples/fileserver
show version

say "A root filesystem of this machine's files, as a compressed qcow2"
mkdir "$work/root" "$work/www"
find /etc /usr/bin /usr/sbin /usr/lib /usr/share -xdev -type f -readable -size -32768k -printf '%s %p\n' 2>/dev/null |
	awk -v max="$size" '{ n = $1; sub(/^[0-9]+ /, ""); if (sum + n > max) exit; sum += n; print }' >"$work/files"
tar -C / --files-from "$work/files" -cf - 2>/dev/null | tar -C "$work/root" -xf - || true # a file that went away is no loss
mke2fs -q -t ext4 -L demo-root -d "$work/root" "$work/root.raw" 8G >/dev/null
qemu-img convert -f raw -O qcow2 -c "$work/root.raw" "$work/www/root.qcow2"
rm -rf "$work/root" "$work/root.raw"
(cd "$work/www" && sha256sum root.qcow2 >SHA256SUMS)
echo "$(wc -l <"$work/files") files, $(du -h "$work/www/root.qcow2" | cut -f1) stored, 8 GiB virtual"

"$work/fileserver" -dir "$work/www" -rate "$rate" >"$work/url" &
server=$!
url=
for _ in $(seq 300); do
	url=$(cat "$work/url")
	if [ -n "$url" ]; then break; fi
	sleep 0.2
done
[ -n "$url" ] || { echo "the server did not start" >&2; exit 1; }
cd "$work"

say "What is it? (only its metadata is fetched)"
show info "$url/root.qcow2"

say "How would it travel?"
show import --explain "$url/root.qcow2" disk.img --checksum-file "$url/SHA256SUMS"

say "Import"
show import "$url/root.qcow2" disk.img --checksum-file "$url/SHA256SUMS"

say "Is it right? qemu-img and e2fsck have the last word"
ls -lsh disk.img
qemu-img compare -f raw -F qcow2 disk.img www/root.qcow2
e2fsck -fn disk.img 2>&1 | tail -n 1

say "A wrong checksum leaves nothing behind"
code=0
show import "$url/root.qcow2" other.img --checksum sha256:0000000000000000000000000000000000000000000000000000000000000000 || code=$?
echo "exit status $code"
[ "$code" = 13 ] || exit 1
for f in other* .other*; do
	if [ -e "$f" ]; then echo "left behind: $f"; exit 1; fi
done
echo "nothing left behind"
