# Static local volumes, for classes without CSI: per class three of 1 GiB with ext4 and three raw. Given back, they are
# made ready for the next claim. A raw one has old data in it, from the start, as disks do. Sourced by init.sh.
# shellcheck shell=bash disable=SC2154
local_size=1073741824

# soil DEVICE: zeros, but for a MiB of other bytes at the start, in the middle and at the end.
soil() {
	blkdiscard -f "$1" 2>>"$state/log/local-volumes.log" # it warns of what is meant
	local at
	for at in 0 512 1023; do
		head -c 1M /dev/zero | tr '\0' '\245' | dd of="$1" bs=1M iflag=fullblock seek="$at" conv=notrunc,fsync status=none
	done
}

# offer NAME CLASS MODE: makes or finds the volume's image, and the PersistentVolume.
offer() {
	local path=$state/local/$1 image=$state/local/$1.img new='' device
	if [ ! -e "$image" ]; then
		truncate -s "$local_size" "$image"
		new=1
	fi
	if [ "$3" = Block ]; then
		device=$(losetup --find --show "$image")
		[ -z "$new" ] || soil "$device"
		ln -sfn "$device" "$path"
	else
		[ -z "$new" ] || mkfs.ext4 -q "$image"
		mkdir -p "$path"
		mount -o loop "$image" "$path"
		rmdir "$path/lost+found" 2>/dev/null || true
	fi
	cat <<-END
		---
		apiVersion: v1
		kind: PersistentVolume
		metadata: {name: $1, labels: {cluster.cdictl.test/local: "true"}}
		spec:
		  storageClassName: $2
		  volumeMode: $3
		  capacity: {storage: "$local_size"}
		  accessModes: [ReadWriteOnce]
		  persistentVolumeReclaimPolicy: Retain
		  local: {path: "$path"}
		  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [$node]}]}]}}
	END
}

# take_back: watches for volumes whose claims are gone.
take_back() {
	kubectl get pv -l cluster.cdictl.test/local --watch --no-headers \
		-o custom-columns=NAME:.metadata.name,PHASE:.status.phase | while read -r name phase; do
		[ "$phase" = Released ] || continue
		if [ -d "$state/local/$name" ]; then
			find "$state/local/$name" -mindepth 1 -delete
		else
			soil "$(readlink "$state/local/$name")"
		fi
		kubectl patch pv "$name" --type=merge -p '{"spec": {"claimRef": null}}'
	done
}

mkdir -p "$state/local"
for class in local local-immediate; do
	for i in 1 2 3; do
		offer "$class-fs-$i" $class Filesystem
		offer "$class-block-$i" $class Block
	done
done >"$state/local/volumes.yaml"
kubectl apply -f "$state/local/volumes.yaml" >/dev/null
service local-volumes take_back
