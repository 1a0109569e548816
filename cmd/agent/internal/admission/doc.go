// Package admission answers the API server's question whether an object of cdi.kubevirt.io may be stored. What is asked
// about is in cmd/internal/webhook, what is said in package validate; here is the server between them, and the one check
// that has to look at the cluster: whether a DataVolume's claim is there already.
//
// Sources that this agent cannot fill yet are valid objects all the same: the controllers say in a condition that they wait.
//
// RBAC: "" / persistentvolumeclaims get
// RBAC: cdi.kubevirt.io / cdiconfigs get
package admission
