// Package e2e runs the agent on a real Kubernetes: it applies what `cdictl install` prints and then the examples, and
// looks at the disks that come out. Its tests need a cluster, and run through test/e2e/run.sh, which says how.
package e2e
