// Package certs makes and renews the agent's certificates, with nobody's help: one authority for the admission webhook, whose
// bundle is written into the webhook's configuration, and one that workers and managers know each other by.
//
// Each authority lives in a Secret in the agent's namespace. All replicas of the manager look after it, leader or not: who
// comes first writes, the others see the conflict and take what is there. A new CA is published some time before the first
// certificate is signed with it, and an old one stays in the bundle until it expires, so nothing that trusts the bundle
// ever meets a certificate that it cannot verify.
//
// RBAC, in the agent's namespace: "" / secrets create; get, list, watch and update of cdi-agent-webhook-tls and cdi-agent-worker-ca
// RBAC: admissionregistration.k8s.io / validatingwebhookconfigurations get, list, watch and patch of cdi-agent-validate
package certs
