#!/usr/bin/env bash
# Brings the cluster up; needs root. What is missing is installed and built first.
#
#   test/cluster/up.sh         one node, with storage, DNS and the file server
#   test/cluster/up.sh api     etcd and kube-apiserver only
#
# Everything runs in namespaces of its own below one process, node/init.sh: see README.md.
set -euo pipefail
. "$(dirname "$0")/env.sh"
tier=${1:-node}
case $tier in api | node) ;; *) die "no tier $tier; there are api and node" ;; esac
[ "$(id -u)" = 0 ] || die "namespaces, mounts and loop devices need root; or run the suites on a cluster of your own, see test/cluster/README.md"
[ -z "$(pid1)" ] || die "it runs already; make cluster-down ends it"
[ ! -e "$state/pid1" ] || "$here/down.sh" --keep # it was killed, and left its traces
[ ! -d /var/lib/kubelet/pods ] || die "this machine is a node of another Kubernetes (/var/lib/kubelet/pods exists); use that one with E2E_KUBECONFIG"
hierarchies=(cpu cpuacct cpuset memory devices freezer blkio pids systemd)
for h in "${hierarchies[@]}"; do
	[ "$tier" = api ] || mountpoint -q "/sys/fs/cgroup/$h" ||
		die "no cgroup v1 hierarchy at /sys/fs/cgroup/$h: this test bed knows only v1; use kind with E2E_KUBECONFIG"
done

"$here/deps.sh"
"$here/build.sh" "$tier"
[ "$tier" = api ] || "$here/images.sh"

began=$SECONDS
mkdir -p "$state"/{log,pids}
rm -f "$state"/{ready,failed}
# What kubelet changes on the whole machine, for down.sh to put back.
sysctl vm.overcommit_memory kernel.panic kernel.panic_on_oops >"$state/sysctls"
losetup -nO NAME >"$state/loops"
for d in /var/lib/kubelet /var/lib/containerd /var/lib/cni /var/log/pods /etc/cni/net.d; do
	until [ -d "$d" ]; do
		p=$d
		until [ -d "$(dirname "$p")" ]; do p=$(dirname "$p"); done
		mkdir "$p"
		echo "$p"
	done
done >"$state/folders"
: >"$state/cgroups"

(
	# A cgroup of our own below the one that we are in, so that nothing outside is touched.
	if [ "$tier" = node ]; then
		for h in "${hierarchies[@]}"; do
			own=$(awk -F: -v h="$h" '{ sub("name=", "", $2); n = split($2, a, ","); for (i = 1; i <= n; i++) if (a[i] == h) print $3 }' /proc/self/cgroup)
			parent=/sys/fs/cgroup/$h${own%/}
			mkdir -p "$parent/cdictl-cluster"
			if [ "$h" = cpuset ]; then # a new one has no processors and no memory
				for f in cpuset.cpus cpuset.mems; do cat "$parent/$f" >"$parent/cdictl-cluster/$f"; done
				echo 1 >"$parent/cdictl-cluster/cgroup.clone_children"
			fi
			echo "$BASHPID" >"$parent/cdictl-cluster/cgroup.procs"
			echo "$parent/cdictl-cluster" >>"$state/cgroups"
		done
	fi
	exec setsid unshare --mount --net --pid --fork --uts --ipc --cgroup --mount-proc --propagation private \
		tini-static -s -- bash "$here/node/init.sh" "$tier" >"$state/log/init.log" 2>&1 </dev/null
) &
unshared=$!
for _ in {1..1200}; do
	# Before it becomes unshare, the subshell has children of other kinds.
	pid=$(tr -d ' ' 2>/dev/null <"/proc/$unshared/task/$unshared/children" || true)
	[[ "$(tr '\0' ' ' 2>/dev/null <"/proc/${pid:-none}/cmdline")" != *"$here/node/init.sh"* ]] || break
	pid=
	sleep 0.05
done
[ -n "$pid" ] || die "the namespaces could not be made: $(cat "$state/log/init.log")"
echo "$pid" >"$state/pid1"

for _ in {1..6000}; do
	[ ! -e "$state/ready" ] || break
	if [ -e "$state/failed" ] || [ ! -d "/proc/$pid" ]; then break; fi
	sleep 0.1
done
cat "$state/log/init.log"
[ -e "$state/ready" ] || die "it did not come up; its logs are in $state/log, and make cluster-down cleans up"
disown "$unshared"
echo "cluster: up in $((SECONDS - began)) s; make kubectl ARGS='get pods -A', or test/cluster/enter.sh COMMAND"
echo "cluster: for envtest: export KUBEBUILDER_ASSETS=$bin"
