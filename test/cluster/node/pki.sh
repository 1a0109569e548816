#!/usr/bin/env bash
# Makes the keys, certificates and kubeconfigs of the cluster in .cache/cluster/state/pki, once.
set -euo pipefail
. "$(dirname "$0")/../env.sh"
dir=$state/pki
[ ! -e "$dir/made" ] || exit 0
mkdir -p "$dir"
cd "$dir"
{
	authority() {
		openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.crt" -days 365 \
			-subj "/CN=$1" -addext keyUsage=critical,keyCertSign,digitalSignature
	}

	# certificate NAME AUTHORITY SUBJECT [NAMES OF THE SERVER]
	certificate() {
		openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.csr" -subj "$3"
		printf '%s\n' keyUsage=digitalSignature extendedKeyUsage=clientAuth,serverAuth ${4:+"subjectAltName=$4"} |
			openssl x509 -req -in "$1.csr" -CA "$2.crt" -CAkey "$2.key" -CAcreateserial -days 365 -extfile - -out "$1.crt"
	}

	# user NAME SUBJECT [NAMES OF THE SERVER]: a certificate and a kubeconfig with it
	user() {
		certificate "$1" ca "$2" "${3:-}"
		cat >"$1.kubeconfig" <<-END
			apiVersion: v1
			kind: Config
			clusters: [{name: test, cluster: {server: "https://$ip:6443", certificate-authority: "$dir/ca.crt"}}]
			users: [{name: "$1", user: {client-certificate: "$dir/$1.crt", client-key: "$dir/$1.key"}}]
			contexts: [{name: test, context: {cluster: test, user: "$1"}}]
			current-context: test
		END
	}

	authority ca
	authority front-proxy-ca
	kubernetes=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local
	certificate apiserver ca /CN=kube-apiserver "$kubernetes,DNS:localhost,IP:127.0.0.1,IP:${services%.*}.1,IP:$ip"
	certificate apiserver-kubelet-client ca /O=system:masters/CN=kube-apiserver-kubelet-client
	certificate front-proxy-client front-proxy-ca /CN=front-proxy-client
	user admin /O=system:masters/CN=admin
	user controller-manager /CN=system:kube-controller-manager
	user scheduler /CN=system:kube-scheduler
	user proxy /CN=system:kube-proxy
	user kubelet "/O=system:nodes/CN=system:node:$node" "DNS:$node,IP:$ip,IP:127.0.0.1"
	openssl genrsa -out service-accounts.key 2048
	openssl rsa -in service-accounts.key -pubout -out service-accounts.pub
} 2>openssl.log || die "openssl failed: $(cat "$dir/openssl.log")"
touch made
