package formattest

import "github.com/cdictl/cdictl/lib/internal/testimage"

// A Case is an image that qemu-img and qemu-io make. It and the functions below are those of lib/internal/testimage, for
// tests and programs outside of lib, which cannot import that.
type Case = testimage.Case

// What tests and programs outside of lib use to make images and to ask qemu-img about them.
var (
	Qcow2Cases = testimage.Qcow2Cases
	Build      = testimage.Build
	Make       = testimage.Make
	Digest     = testimage.Digest
	RawDigest  = testimage.RawDigest
	Sum        = testimage.Sum
	WriteRaw   = testimage.WriteRaw
	Missing    = testimage.Missing
	Require    = testimage.Require
)
