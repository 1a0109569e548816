// Package admission answers the API server's question whether an object of cdi.kubevirt.io may be stored. What is asked
// about is in cmd/internal/webhook, what is said in package validate; here is the server between them, and the checks that
// have to look at the cluster: whether a DataVolume's claim is there already, and what a clone names is there at all.
//
// Kinds whose few rules fit into their schema (VolumeUploadSource, VolumeCloneSource, DataSource, StorageProfile, CDIConfig)
// never come here: cmd/internal/crd has those rules.
//
// Sources that this agent cannot fill yet are valid objects all the same: the controllers say in a condition that they wait.
//
// RBAC: "" / persistentvolumeclaims get
// RBAC: "" / namespaces get
// RBAC: cdi.kubevirt.io / cdiconfigs, datasources get
package admission
