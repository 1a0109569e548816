# The rest of the control plane, containerd, kubelet and kube-proxy. Sourced by init.sh.
# shellcheck shell=bash disable=SC2154
mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
for h in cpu cpuacct cpuset memory devices freezer blkio pids; do
	mkdir "/sys/fs/cgroup/$h"
	mount -t cgroup -o "$h" "$h" "/sys/fs/cgroup/$h"
done
mkdir /sys/fs/cgroup/systemd # kubelet asks for it, systemd or not
mount -t cgroup -o none,name=systemd systemd /sys/fs/cgroup/systemd

for pair in kubelet:/var/lib/kubelet containerd:/var/lib/containerd cni:/var/lib/cni pods:/var/log/pods net.d:/etc/cni/net.d; do
	mkdir -p "$state/${pair%%:*}"
	mount --bind "$state/${pair%%:*}" "${pair#*:}"
done
: >"$state/resolv.conf"
mount --bind "$state/resolv.conf" /etc/resolv.conf
mkdir -p "$www"
rm -rf /var/lib/cni/* # addresses that pods held before a power cut

ip link add cni0 type bridge
ip addr add "${pods%.*}.1/24" dev cni0
ip link set cni0 up
sysctl -qw net.ipv4.ip_forward=1

service kube-controller-manager kube-controller-manager --kubeconfig="$pki/controller-manager.kubeconfig" \
	--authentication-kubeconfig="$pki/controller-manager.kubeconfig" \
	--authorization-kubeconfig="$pki/controller-manager.kubeconfig" --leader-elect=false \
	--service-account-private-key-file="$pki/service-accounts.key" --use-service-account-credentials=true \
	--root-ca-file="$pki/ca.crt" --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key" \
	--client-ca-file="$pki/ca.crt" --requestheader-client-ca-file="$pki/front-proxy-ca.crt" \
	--allocate-node-cidrs=true --cluster-cidr="$pods" --node-cidr-mask-size=24 --service-cluster-ip-range="$services"
service kube-scheduler kube-scheduler --kubeconfig="$pki/scheduler.kubeconfig" \
	--authentication-kubeconfig="$pki/scheduler.kubeconfig" --authorization-kubeconfig="$pki/scheduler.kubeconfig" \
	--leader-elect=false

# restrict_oom_score_adj: without CAP_SYS_RESOURCE, as in many containers, runc cannot lower that score and no pod starts.
# device_ownership_from_security_context: a container that is not root may write its block device.
cat >"$state/containerd.toml" <<END
version = 3
root = '/var/lib/containerd'
state = '/run/containerd'
disabled_plugins = [
  'io.containerd.snapshotter.v1.btrfs', 'io.containerd.snapshotter.v1.zfs', 'io.containerd.snapshotter.v1.devmapper',
  'io.containerd.snapshotter.v1.blockfile', 'io.containerd.snapshotter.v1.erofs', 'io.containerd.differ.v1.erofs',
  'io.containerd.nri.v1.nri',
]
[grpc]
  address = '/run/containerd/containerd.sock'
[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'overlayfs'
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = 'localhost/pause:1'
[plugins.'io.containerd.cri.v1.runtime']
  disable_apparmor = true
  enable_selinux = false
  restrict_oom_score_adj = true
  device_ownership_from_security_context = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ['/usr/lib/cni']
    conf_dir = '/etc/cni/net.d'
  [plugins.'io.containerd.cri.v1.runtime'.containerd]
    default_runtime_name = 'runc'
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
      runtime_type = 'io.containerd.runc.v2'
      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
        BinaryName = '/usr/sbin/runc'
        SystemdCgroup = false
END
cat >/etc/cni/net.d/10-pods.conflist <<END
{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [{
    "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "$pods"}]], "routes": [{"dst": "0.0.0.0/0"}]}
  }]
}
END
service containerd containerd --config "$state/containerd.toml"
until_true 30 ctr version
for archive in "$images"/*.tar; do ctr -n k8s.io images import --local "$archive" >>"$state/log/images.log" 2>&1; done
say "containerd is ready and has the images"

cat >"$state/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: "$pki/ca.crt"}}
authorization: {mode: Webhook}
tlsCertFile: "$pki/kubelet.crt"
tlsPrivateKeyFile: "$pki/kubelet.key"
clusterDNS: ["$dns"]
clusterDomain: cluster.local
resolvConf: "$state/resolv.conf"
failSwapOn: false
evictionHard: {memory.available: 100Mi, nodefs.available: 1Gi, imagefs.available: 1Gi}
crashLoopBackOff: {maxContainerRestartPeriod: 4s} # a test that kills a container ten times need not wait for an hour
imageGCHighThresholdPercent: 100 # an image that is collected cannot be pulled again
nodeStatusUpdateFrequency: 1s
volumeStatsAggPeriod: 30s
END
service kubelet kubelet --config="$state/kubelet.yaml" --kubeconfig="$pki/kubelet.kubeconfig" \
	--hostname-override="$node" --node-ip="$ip" --v=2

# The kernel's conntrack table is the machine's: zeros leave it alone.
cat >"$state/kube-proxy.yaml" <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: "$pki/proxy.kubeconfig"}
hostnameOverride: $node
clusterCIDR: $pods
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
END
service kube-proxy kube-proxy --config="$state/kube-proxy.yaml"
