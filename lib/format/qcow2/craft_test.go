package qcow2

import "github.com/cdictl/cdictl/lib/internal/testimage"

// What package testimage crafts, by short names.
type crafted = testimage.QCOW2

const (
	craftCluster = testimage.QCOW2Cluster
	craftSize    = testimage.QCOW2Size
	atRefTable   = testimage.QCOW2RefTable
	atL1         = testimage.QCOW2L1
	atL2         = testimage.QCOW2L2
	atSnaps      = testimage.QCOW2Snapshots
	atData       = testimage.QCOW2Data
	atPacked     = testimage.QCOW2Packed
	craftEnd     = testimage.QCOW2End
)

func craft(compression uint8) (crafted, []byte) { return testimage.CraftQCOW2(compression) }
func craftExtended() (crafted, []byte)          { return testimage.CraftExtendedQCOW2() }

func packCluster(compression uint8, b []byte) []byte { return testimage.PackQCOW2(compression, b) }
