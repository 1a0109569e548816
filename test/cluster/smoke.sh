#!/usr/bin/env bash
# Tries every part of the cluster: up, DNS, the file server, claims of every class and mode, snapshots, clones, growth,
# faults, restarts; csi-sanity; down; up again, and down. Ends with how long each took.
set -euo pipefail
. "$(dirname "$0")/env.sh"
times=$(mktemp)
ns=smoke
last=
finish() {
	code=$?
	if [ "$code" != 0 ] && [ -n "$(pid1)" ]; then
		echo "cluster: smoke failed at: $last; the cluster is left as it is: make cluster-status, $state/log, make cluster-down" >&2
	fi
	rm -f "$times"
}
trap finish EXIT

# step NAME COMMAND…: runs it, and notes its time
step() {
	local began status=0
	last=$1
	shift
	began=$(date +%s.%N)
	echo "== $last"
	"$@"
	printf '%-44s %6.1f s\n' "$last" "$(minus "$(date +%s.%N)" "$began")" >>"$times"
}

minus() { awk -v a="$1" -v b="$2" 'BEGIN { print a - b }'; }
kubectl() { "$here/enter.sh" kubectl -n "$ns" "$@"; }
apply() { kubectl apply -f - >/dev/null; }

claim() { # NAME CLASS MODE SIZE [SOURCE]
	apply <<-END
		apiVersion: v1
		kind: PersistentVolumeClaim
		metadata: {name: $1}
		spec:
		  storageClassName: $2
		  volumeMode: $3
		  accessModes: [ReadWriteOnce]
		  resources: {requests: {storage: $4}}
		  ${5:+dataSource: $5}
	END
}

# pod NAME MODE COMMAND CLAIM…: a pod of user 107 with the claims as /mnt/CLAIM or /dev/CLAIM
pod() {
	local name=$1 mode=$2 command=$3 c volumes='' uses='' key=volumeMounts path=mountPath dir=/mnt
	shift 3
	command=${command//\\/\\\\} # into a YAML string
	command=${command//\"/\\\"}
	if [ "$mode" = Block ]; then key=volumeDevices path=devicePath dir=/dev; fi
	for c; do
		volumes+="{name: $c, persistentVolumeClaim: {claimName: $c}}, "
		uses+="{name: $c, $path: $dir/$c}, "
	done
	apply <<-END
		apiVersion: v1
		kind: Pod
		metadata: {name: $name}
		spec:
		  restartPolicy: Never
		  terminationGracePeriodSeconds: 0
		  automountServiceAccountToken: false
		  securityContext: {runAsUser: 107, runAsGroup: 107, fsGroup: 107, runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
		  containers:
		  - name: box
		    image: localhost/box:1
		    command: [sh, -ec, "$command"]
		    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
		    $key: [$uses]
		  volumes: [$volumes]
	END
}

finished() { # POD [WHAT IT SAYS]
	if ! kubectl wait --for=jsonpath='{.status.phase}'=Succeeded "pod/$1" --timeout=90s >/dev/null; then
		kubectl describe pod "$1" >&2
		kubectl logs "$1" >&2
		return 1
	fi
	local said
	said=$(kubectl logs "$1")
	[ $# -lt 2 ] || [ "$said" = "$2" ] || die "pod $1 says '$said', want '$2'"
}

run() { # the arguments of pod; what it says is in the last, after --
	local args=() want
	while [ "$1" != -- ]; do
		args+=("$1")
		shift
	done
	want=$2
	pod "${args[@]}"
	finished "${args[0]}" "$want"
	kubectl delete pod "${args[0]}" --wait >/dev/null
}

phase() { # CLAIM PHASE
	kubectl wait --for=jsonpath='{.status.phase}'="$2" "pvc/$1" --timeout=60s >/dev/null
}

network() {
	run dns Filesystem 'nslookup fileserver.fileserver.svc.cluster.local >/dev/null && echo found' -- found
	head -c 100000 /dev/urandom >"$www/smoke"
	run get Filesystem 'fetch http://fileserver.fileserver/smoke | sha256sum' -- "$(sha256sum <"$www/smoke")"
	local admin
	admin=http://$(kubectl -n fileserver get service fileserver -o jsonpath='{.spec.clusterIP}'):9090
	"$here/enter.sh" curl -sSf -X DELETE "$admin/counts"
	"$here/enter.sh" curl -sSf -X PUT "$admin/rules" -d '[{"path": "/smoke", "times": 1, "dropAfter": 5000}]'
	run drop Filesystem 'fetch http://fileserver.fileserver/smoke 2>&1 >/dev/null | wc -l' -- 1
	"$here/enter.sh" curl -sSf "$admin/counts" | tr -d ' \n' | grep -q '"/smoke":{"requests":1,"ranged":0,"bytes":5000,' ||
		die "the file server counts $("$here/enter.sh" curl -sS "$admin/counts")"
	rm "$www/smoke"
}

class() { # CLASS BINDING: both modes, written by one pod and read by the next
	claim fs "$1" Filesystem 64Mi
	claim block "$1" Block 64Mi
	if [ "$2" = immediate ]; then
		phase fs Bound
		phase block Bound
	else
		sleep 1
		phase fs Pending
	fi
	run write-fs Filesystem 'echo kept > /mnt/fs/f; stat -c %u /mnt/fs/f' fs -- 107
	run read-fs Filesystem 'cat /mnt/fs/f' fs -- kept
	run write-block Block 'printf kept | dd of=/dev/block bs=4096 conv=notrunc,fsync 2>/dev/null; echo written' block -- written
	run read-block Block 'head -c 4 /dev/block; echo' block -- kept
	kubectl delete pvc fs block --wait >/dev/null
}

snapshots() { # CLASS
	claim source "$1" Filesystem 64Mi
	claim device "$1" Block 64Mi
	run fill-fs Filesystem 'echo first > /mnt/source/f; sync' source -- ''
	run fill-block Block 'printf first | dd of=/dev/device bs=4096 conv=notrunc,fsync 2>/dev/null' device -- ''
	for s in source device; do
		apply <<-END
			apiVersion: snapshot.storage.k8s.io/v1
			kind: VolumeSnapshot
			metadata: {name: $s}
			spec: {volumeSnapshotClassName: loop, source: {persistentVolumeClaimName: $s}}
		END
	done
	kubectl wait --for=jsonpath='{.status.readyToUse}'=true volumesnapshot/source volumesnapshot/device --timeout=60s >/dev/null
	run change Filesystem 'echo second > /mnt/source/f; sync' source -- ''
	local snapshot='apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot'
	claim restored "$1" Filesystem 128Mi "{$snapshot, name: source}"
	claim device-restored "$1" Block 64Mi "{$snapshot, name: device}"
	claim cloned "$1" Filesystem 64Mi '{kind: PersistentVolumeClaim, name: source}'
	claim device-cloned "$1" Block 64Mi '{kind: PersistentVolumeClaim, name: device}'
	run read-all Filesystem 'cat /mnt/restored/f /mnt/cloned/f; df -m /mnt/restored | awk "END { print (\$2 > 80) }"' restored cloned -- \
		$'first\nsecond\n1'
	run read-devices Block 'head -c 5 /dev/device-restored; head -c 5 /dev/device-cloned; echo' device-restored device-cloned -- firstfirst
	kubectl delete volumesnapshot source device --wait >/dev/null
	kubectl delete pvc --all --wait >/dev/null
}

growth() {
	claim grown loop-xfs Filesystem 64Mi
	pod grower Filesystem 'until [ "$(df -m /mnt/grown | awk "END { print (\$2 > 150) }")" = 1 ]; do sleep 0.2; done; echo grown' grown
	kubectl wait --for=condition=Ready pod/grower --timeout=60s >/dev/null
	kubectl patch pvc grown -p '{"spec": {"resources": {"requests": {"storage": "192Mi"}}}}' >/dev/null
	finished grower grown
	kubectl delete pod grower --wait >/dev/null
	kubectl delete pvc grown --wait >/dev/null
}

reflinks() { # a clone of data takes no room
	claim big loop-xfs Block 256Mi
	run fill Block 'dd if=/dev/urandom of=/dev/big bs=1M count=200 conv=fsync 2>/dev/null' big -- ''
	local before after
	before=$("$here/enter.sh" df --output=used -B 1M "$state/csi/xfs" | tail -n 1)
	claim copy loop-xfs Block 256Mi '{kind: PersistentVolumeClaim, name: big}'
	phase copy Bound
	after=$("$here/enter.sh" df --output=used -B 1M "$state/csi/xfs" | tail -n 1)
	[ $((after - before)) -lt 50 ] || die "the clone of 200 MiB took $((after - before)) MiB"
	kubectl delete pvc big copy --wait >/dev/null
}

old_data() { # a raw local volume is not blank
	claim old local-immediate Block 1Gi
	run look Block 'head -c 1 /dev/old | hexdump -e "/1 \"%x\""; echo' old -- a5
	kubectl delete pvc old --wait >/dev/null
}

faults() {
	echo '{"call": "CreateVolume", "claim": "'$ns'/slow", "times": 3, "code": "UNAVAILABLE", "message": "smoke"}' >"$faults/.smoke"
	mv "$faults/.smoke" "$faults/smoke.json"
	claim slow loop Filesystem 64Mi
	phase slow Bound
	[ ! -e "$faults/smoke.json" ] || die "the rule is still there"
	local failures
	failures=$(grep -c 'CreateVolume .*desc = smoke' "$state/log/csidriver.log")
	[ "$failures" = 3 ] || die "CreateVolume failed $failures times, want 3"
	echo '{"call": "NodePublishVolume", "claim": "'$ns'/slow", "times": 1, "delay": "3s", "code": "INTERNAL", "after": true}' >"$faults/.smoke"
	mv "$faults/.smoke" "$faults/smoke.json"
	run late Filesystem 'echo came' slow -- came
	[ ! -e "$faults/smoke.json" ] || die "the rule is still there"
	kubectl delete pvc slow --wait >/dev/null
}

restarts() {
	pod survivor Filesystem 'sleep 6; echo survived'
	kubectl wait --for=condition=Ready pod/survivor --timeout=60s >/dev/null
	"$here/restart.sh" kubelet containerd csidriver
	finished survivor survived
	kubectl delete pod survivor --wait >/dev/null
	class loop immediate
}

namespace() {
	"$here/enter.sh" kubectl create namespace "$ns" >/dev/null
	until kubectl get serviceaccount default >/dev/null 2>&1; do sleep 0.1; done
	run once Filesystem 'echo ran' -- ran
}

traces() {
	local left
	left=$(losetup -nO NAME,BACK-FILE | grep -F "$state" || true)
	left+=$(grep -F "$state" /proc/self/mounts || true)
	left+=$(find /sys/fs/cgroup -maxdepth 6 -type d -name cdictl-cluster 2>/dev/null || true)
	[ -z "$left" ] || die "left behind: $left"
	[ "$(sysctl vm.overcommit_memory kernel.panic kernel.panic_on_oops)" = "$sysctls" ] || die "sysctls are not as they were"
}

[ -z "$(pid1)" ] || die "it runs already; make cluster-down ends it"
"$here/deps.sh"
step build "$here/build.sh" node
step "build csi-sanity" "$here/build.sh" sanity
step images "$here/images.sh"
sysctls=$(sysctl vm.overcommit_memory kernel.panic kernel.panic_on_oops)
step up "$here/up.sh"
step "a pod that runs to completion" namespace
step "DNS, file server" network
step "class loop" class loop immediate
step "class loop-wffc" class loop-wffc wait
step "class loop-xfs" class loop-xfs immediate
step "class loop-xfs-wffc" class loop-xfs-wffc wait
step "class local" class local wait
step "class local-immediate" class local-immediate immediate
step "old data on a local device" old_data
step "snapshots, clones: loop" snapshots loop
step "snapshots, clones: loop-xfs" snapshots loop-xfs
step "growth of xfs, online" growth
step "reflinks" reflinks
step "CSI faults" faults
step "kill kubelet, containerd, csidriver" restarts
step "down, as a power cut" "$here/down.sh" --keep
step "up again" "$here/up.sh"
step "class loop, after the power cut" class loop immediate
step "down" "$here/down.sh"
step "no traces" traces
step "up api" "$here/up.sh" api
step "an object" "$here/enter.sh" kubectl create configmap smoke
step "down" "$here/down.sh"
step "no traces" traces
step "csi-sanity" "$here/sanity.sh"
step "no traces" traces
echo
cat "$times"
