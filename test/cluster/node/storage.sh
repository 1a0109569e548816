# The CSI driver with its sidecars, as plain processes beside the kubelet, and the local volumes. Sourced by init.sh.
# shellcheck shell=bash disable=SC2154
mkdir -p "$faults" "$state/csi/plain" "$state/csi/xfs"
# A pool that can reflink, whatever the machine's own filesystem is. Sparse: it takes what is written.
if [ ! -e "$state/csi/xfs.img" ]; then
	truncate -s 64G "$state/csi/xfs.img"
	mkfs.xfs -q -m reflink=1 "$state/csi/xfs.img"
fi
mount -o loop "$state/csi/xfs.img" "$state/csi/xfs"

socket=/var/lib/kubelet/plugins/$driver/csi.sock
service csidriver csidriver -name "$driver" -node "$node" -socket "$socket" \
	-registration "/var/lib/kubelet/plugins_registry/$driver-reg.sock" -state "$state/csi/volumes.json" \
	-faults "$faults" -pool "plain=$state/csi/plain" -pool "xfs=$state/csi/xfs" -max-volume-bytes $((64 << 30))

kubectl apply --server-side -f "$cache/crds" >/dev/null
kubectl wait --for=condition=Established --timeout=300s crd/volumesnapshotclasses.snapshot.storage.k8s.io \
	crd/volumesnapshotcontents.snapshot.storage.k8s.io crd/volumesnapshots.snapshot.storage.k8s.io >/dev/null
sed "s/@DRIVER@/$driver/" "$here/manifests/storage.yaml" | kubectl apply -f - >/dev/null

sidecar=(--kubeconfig="$KUBECONFIG" --csi-address="$socket")
service csi-provisioner env NODE_NAME="$node" csi-provisioner "${sidecar[@]}" --feature-gates=Topology=true \
	--strict-topology --extra-create-metadata --timeout=120s --v=2
service csi-attacher csi-attacher "${sidecar[@]}" --v=2
service csi-resizer csi-resizer "${sidecar[@]}" --v=2
service csi-snapshotter csi-snapshotter "${sidecar[@]}" --extra-create-metadata --timeout=120s --v=2
service snapshot-controller snapshot-controller --kubeconfig="$KUBECONFIG" --v=2

. "$here/node/local.sh"
