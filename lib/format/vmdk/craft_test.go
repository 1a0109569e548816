package vmdk

import "github.com/cdictl/cdictl/lib/internal/testimage"

// What package testimage crafts, by short names.
type crafted = testimage.VMDK

const (
	atGD         = testimage.VMDKDirectory
	atGT0        = testimage.VMDKTable
	craftSize    = testimage.VMDKSize
	atSEVolatile = testimage.VMDKSEVolatile
	atSEGD       = testimage.VMDKSEDirectory
)

func craftedDisk() []byte                                  { return testimage.VMDKDisk() }
func craftSparse() (crafted, []byte)                       { return testimage.CraftSparseVMDK() }
func craftStream(s testimage.VMDKStream) (crafted, []byte) { return testimage.CraftStreamVMDK(s) }
func craftCOWD() (crafted, []byte)                         { return testimage.CraftCOWD() }
func craftSE() (crafted, []byte)                           { return testimage.CraftSE() }
func descriptorText(createType string, extents ...string) string {
	return testimage.VMDKDescriptor(createType, extents...)
}
