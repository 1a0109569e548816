// Package api installs the agent as a user does, on a real API server without nodes, and runs its real binary with the
// rights of its ServiceAccount: what `cdictl install` prints, the webhook with the certificates that the managers make,
// the election of a leader, and the rights of people. Packages under cmd/ test the parts, on the same kind of server.
package api
