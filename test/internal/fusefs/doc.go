// Package fusefs serves a folder as a file system that is slow, or that cannot do what local ones can. Only on Linux.
package fusefs
