// Package datavolume makes the claim of every DataVolume and writes its status. It moves no data: a claim is filled by the
// population controller, by an external populator, or has its content already. What is known of that is read from the claim.
//
// A reconcile is an ordered list of steps, each of which looks at what is there and does at most one thing about it, so that
// the process may end between any two calls to the API. The names of what it makes are functions of the DataVolume: the
// claim has its name, the VolumeImportSource its UID. The last step writes the status, once; nobody else writes it, and
// nobody else tells events of DataVolumes.
//
// RBAC: cdi.kubevirt.io/datavolumes get list watch
// RBAC: cdi.kubevirt.io/datavolumes/status patch
// RBAC: cdi.kubevirt.io/datavolumes/finalizers update
// RBAC: cdi.kubevirt.io/volumeimportsources get list watch create delete
// RBAC: cdi.kubevirt.io/storageprofiles get list watch
// RBAC: cdi.kubevirt.io/cdiconfigs get list watch
// RBAC: core/persistentvolumeclaims get list watch create patch
// RBAC: core/persistentvolumes get list watch
// RBAC: storage.k8s.io/storageclasses get list watch
// RBAC: storage.k8s.io/csidrivers get list watch
// RBAC: events.k8s.io/events create patch
package datavolume
