#!/usr/bin/env bash
# The first program in the cluster's namespaces, below tini. up.sh starts it; it starts and watches everything else.
set -Eeuo pipefail
. "$(dirname "$0")/../env.sh"
tier=$1
trap 'say "line $LINENO of $(basename "${BASH_SOURCE[0]}") failed"; touch "$state/failed"' ERR
pki=$state/pki
export KUBECONFIG=$pki/admin.kubeconfig KUBECACHEDIR=$state/kubectl

say() { printf '%(%T)T %s\n' -1 "$*"; }

# service NAME COMMAND…: starts a component, and again whenever it ends. Its pid is in state/pids/NAME.
service() {
	local name=$1
	shift
	(
		trap - ERR
		while :; do
			"$@" >>"$state/log/$name.log" 2>&1 </dev/null &
			echo $! >"$state/pids/$name.part"
			mv "$state/pids/$name.part" "$state/pids/$name"
			wait $! || say "$name ended with status $?"
			sleep 0.5
		done
	) &
}

until_true() { # SECONDS COMMAND…
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		if [ $SECONDS -ge $end ]; then
			say "gave up waiting for: $*"
			return 1
		fi
		sleep 0.1
	done
}

hostname "$node"
mount --make-rshared /
mount -t tmpfs tmpfs /run # ours alone: sockets and network namespaces
mkdir -p /run/lock /run/netns
mount -t sysfs sysfs /sys # of this network namespace

# There is no way out: the node's address is on a bridge that leads nowhere, and no route is a default.
ip link set lo up
ip link add node0 type bridge
ip addr add "$ip/24" dev node0
ip link set node0 up
ip route add "$services" dev node0 # services are redirected only after a route was found

"$here/node/pki.sh"
# Who asked for what, of the service accounts whose namespace a test may look at.
cat >"$state/audit.yaml" <<END
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- {level: Metadata, userGroups: ["system:serviceaccounts:cdi"]}
- {level: None}
END
say "starting etcd and kube-apiserver"
service etcd etcd --data-dir "$state/etcd" --unsafe-no-fsync --log-level warn \
	--listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
	--listen-peer-urls http://127.0.0.1:2380
service kube-apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 \
	--advertise-address="$ip" --secure-port=6443 --service-cluster-ip-range="$services" --allow-privileged=true \
	--authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --enable-aggregator-routing=true \
	--client-ca-file="$pki/ca.crt" --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
	--kubelet-client-certificate="$pki/apiserver-kubelet-client.crt" \
	--kubelet-client-key="$pki/apiserver-kubelet-client.key" \
	--kubelet-certificate-authority="$pki/ca.crt" --kubelet-preferred-address-types=InternalIP \
	--service-account-issuer=https://kubernetes.default.svc.cluster.local \
	--service-account-key-file="$pki/service-accounts.pub" \
	--service-account-signing-key-file="$pki/service-accounts.key" \
	--requestheader-client-ca-file="$pki/front-proxy-ca.crt" --requestheader-allowed-names=front-proxy-client \
	--requestheader-extra-headers-prefix=X-Remote-Extra- --requestheader-group-headers=X-Remote-Group \
	--requestheader-username-headers=X-Remote-User \
	--proxy-client-cert-file="$pki/front-proxy-client.crt" --proxy-client-key-file="$pki/front-proxy-client.key" \
	--audit-policy-file="$state/audit.yaml" --audit-log-path="$state/log/audit.log" --audit-log-maxsize=200
until_true 300 kubectl get --raw /readyz
say "kube-apiserver is ready"
if [ "$tier" = node ]; then
	. "$here/node/node.sh"
	. "$here/node/storage.sh"
	until_true 300 kubectl get serviceaccount default # before that no pod can be made
	kubectl wait --for=condition=Ready "node/$node" --timeout=300s >/dev/null
	say "the node is ready"
	kubectl apply -f "$here/manifests/coredns.yaml" -f <(sed "s|@WWW@|$www|" "$here/manifests/fileserver.yaml") >/dev/null
	kubectl -n kube-system rollout status deployment/coredns --timeout=300s >/dev/null
	kubectl -n fileserver rollout status deployment/fileserver --timeout=300s >/dev/null
	say "DNS and the file server are ready"
fi
touch "$state/ready"
trap - ERR
wait
