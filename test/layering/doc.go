// Package layering holds the direction of the arrows between our packages, as docs/architecture.md draws them. Its
// tests look at the import graph for every system that we build for; show.sh proves that they bite.
package layering
