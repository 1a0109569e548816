// Package population fills claims. Whatever the kind of source, and whether the volume is reached through a second claim
// (PVC′) or directly, there is one state machine, and docs/population.md has it as a table.
//
// Nothing is remembered between two reconciles: what to do next is decided from the claim, PVC′, pod and volume as they are
// (decide.go, pure), done by one call to the API server or a few (act.go), and told in annotations of the claim (report.go).
// So the manager may be killed between any two calls. What holds that together:
//
//   - Children's names are functions of the claim's UID, and each child has the claim as its owner: what is made twice is
//     made once, and what is forgotten goes with the claim.
//   - A pod carries the UID of the claim that it fills. Its success counts for that one only, not for a PVC′ made again.
//   - The record that a volume is complete lies on the claim that has the volume, and is written before anything is taken
//     away. Nothing is filled that has it: a pod is made only after the API server itself, not a cache, was asked.
//   - PVC′ is deleted only when the user's claim has its volume.
//
// What the manager's account needs for it:
//
// RBAC: core/persistentvolumeclaims get list watch create patch delete
// RBAC: core/persistentvolumes get list watch patch
// RBAC: core/pods get list watch create delete
// RBAC: core/secrets create update delete
// RBAC: core/events list
// RBAC: core/configmaps get (in the manager's own namespace: certificates of CDIConfig's proxy)
// RBAC: events.k8s.io/events create patch
// RBAC: storage.k8s.io/storageclasses get list watch
// RBAC: storage.k8s.io/csidrivers get list watch
// RBAC: cdi.kubevirt.io/volumeimportsources get list watch
// RBAC: cdi.kubevirt.io/cdiconfigs get list watch
//
// The cache of pods should be limited to those with podspec.Labels.
package population
