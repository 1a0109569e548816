#!/usr/bin/env bash
# Ends the cluster and puts back what it changed on the machine.
#
#   test/cluster/down.sh          and forgets it
#   test/cluster/down.sh --keep   as a power cut: the next up.sh goes on with what is on the disk
set -euo pipefail
. "$(dirname "$0")/env.sh"
case ${1:-} in '' | --keep) ;; *) die "no option $1; there is --keep" ;; esac
[ -d "$state" ] || exit 0
[ "$(id -u)" = 0 ] || die "needs root"

pid=$(pid1)
if [ -n "$pid" ]; then
	kill -9 "$pid" # the first of its pid namespace: the kernel ends all the others
	for _ in {1..1200}; do
		[ -d "/proc/$pid" ] || break
		sleep 0.1
	done
	[ ! -d "/proc/$pid" ] || die "process $pid does not end; look at /proc/$pid/stack"
fi

# Loop devices outlive their namespace: those of volumes, and those with which the kubelet holds block volumes. Those
# that were mounted go by themselves, a moment later.
loops() {
	losetup -nO NAME,BACK-FILE | while read -r name file; do
		if [[ "$file" == "$state"/* ]] ||
			{ [[ "$file" == /var/lib/kubelet/* ]] && ! grep -qx "$name" "$state/loops"; }; then
			echo "$name"
		fi
	done
}
if [ -f "$state/loops" ]; then
	for _ in {1..600}; do
		left=$(loops)
		[ -n "$left" ] || break
		for name in $left; do losetup -d "$name" 2>/dev/null || true; done
		sleep 0.1
	done
	[ -z "$left" ] || echo "cluster: still in use:" $left >&2
fi
if [ -f "$state/cgroups" ]; then
	while read -r cgroup; do
		for _ in {1..600}; do # the last processes go a moment after the first
			[ -d "$cgroup" ] || break
			find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.1
		done
		[ ! -d "$cgroup" ] || echo "cluster: $cgroup is still in use" >&2
	done <"$state/cgroups"
fi
if [ -f "$state/sysctls" ]; then
	while read -r key _ value; do sysctl -q "$key=$value"; done <"$state/sysctls"
fi
if [ -f "$state/folders" ]; then
	tac "$state/folders" | while read -r d; do rmdir "$d" 2>/dev/null || true; done # not ours any more if it is not empty
fi
rm -f "$state"/{pid1,ready,failed,loops,cgroups,sysctls,folders}
[ "${1:-}" = --keep ] || rm -rf "$state"
