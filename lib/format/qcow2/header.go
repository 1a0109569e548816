package qcow2

import (
	"encoding/binary"
	"math"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/blob"
)

// Bounds that QEMU sets itself; no tool can use an image beyond them.
const (
	minClusterBits   = 9
	maxClusterBits   = 21
	maxL1Bytes       = 32 << 20
	maxRefcountBytes = 8 << 20
	maxSnapshots     = 65536
	maxBackingName   = 1023
)

const (
	v2HeaderLen = 72
	v3HeaderLen = 104
)

// Incompatible feature bits.
const (
	bitDirty uint64 = 1 << iota
	bitCorrupt
	bitDataFile
	bitCompression
	bitExtendedL2
	knownIncompat = bitDirty | bitCorrupt | bitDataFile | bitCompression | bitExtendedL2
)

// Compatible and autoclear feature bits.
const (
	bitLazyRefcounts uint64 = 1 << 0
	bitBitmaps       uint64 = 1 << 0
	bitDataFileRaw   uint64 = 1 << 1
)

// Compression types.
const (
	compressZlib = 0
	compressZstd = 1
)

// header is the header with its extensions. What parseHeader returns has a valid version, cluster size and lengths;
// offsets of tables are as they stand in the file until checkTables.
type header struct {
	version        uint32
	clusterBits    uint
	size           int64
	crypt          uint32
	l1Offset       uint64
	l1Size         uint32
	refOffset      uint64
	refClusters    uint32
	snapshots      uint32
	snapshotOffset uint64
	incompat       uint64
	compat         uint64
	autoclear      uint64
	refcountOrder  uint32
	length         uint32
	compression    uint8

	backingFile, backingFormat, dataFile string

	bitmaps  uint32
	features []feature
}

func (h *header) clusterSize() int64 { return 1 << h.clusterBits }

func (h *header) extended() bool { return h.incompat&bitExtendedL2 != 0 }

// parseHeader reads the fixed header, the extensions and the names, and refuses what makes no sense. It follows no offset.
func parseHeader(p *blob.Blob) (*header, error) {
	if len(p.Head) < MatchLen || !Match(p.Head) {
		return nil, unsupported("no qcow2 magic with a version of 2 or 3")
	}
	be := binary.BigEndian
	h := &header{version: be.Uint32(p.Head[4:]), refcountOrder: 4, length: v2HeaderLen}
	if h.version > 3 {
		return nil, unsupported("version %d, known are 2 and 3", h.version)
	}
	fixed := int64(v2HeaderLen)
	if h.version == 3 {
		fixed = v3HeaderLen
	}
	b, err := p.At(0, fixed, "header")
	if err != nil {
		return nil, err
	}
	bits, size := be.Uint32(b[20:]), be.Uint64(b[24:])
	if bits < minClusterBits || bits > maxClusterBits {
		return nil, corrupt("cluster bits %d not in %d..%d", bits, minClusterBits, maxClusterBits)
	}
	if size > math.MaxInt64 {
		return nil, corrupt("virtual size %d is above 2^63", size)
	}
	h.clusterBits, h.size = uint(bits), int64(size)
	h.crypt = be.Uint32(b[32:])
	h.l1Size, h.l1Offset = be.Uint32(b[36:]), be.Uint64(b[40:])
	h.refOffset, h.refClusters = be.Uint64(b[48:]), be.Uint32(b[56:])
	h.snapshots, h.snapshotOffset = be.Uint32(b[60:]), be.Uint64(b[64:])
	if h.version == 3 {
		if err := h.parseV3(p, b); err != nil {
			return nil, err
		}
	}
	if h.crypt > 2 {
		return nil, unsupported("encryption method %d", h.crypt)
	}
	end := h.clusterSize()
	backing, backingLen := be.Uint64(b[8:]), int64(be.Uint32(b[16:]))
	if backing != 0 {
		switch {
		case backing > uint64(end):
			return nil, corrupt("backing file name at %d lies outside of the first cluster", backing)
		case backing < uint64(h.length):
			return nil, corrupt("backing file name at %d lies inside of the header", backing)
		case backingLen > maxBackingName || backingLen > end-int64(backing):
			return nil, corrupt("backing file name of %d bytes at %d is too long", backingLen, backing)
		}
		end = int64(backing)
		name, err := p.At(end, backingLen, "backing file name")
		if err != nil {
			return nil, err
		}
		h.backingFile = cString(name)
	}
	if err := h.parseExtensions(p, end); err != nil {
		return nil, err
	}
	return h, nil
}

// parseV3 reads what version 3 adds; b is the header up to header_length.
func (h *header) parseV3(p *blob.Blob, b []byte) error {
	be := binary.BigEndian
	h.incompat, h.compat, h.autoclear = be.Uint64(b[72:]), be.Uint64(b[80:]), be.Uint64(b[88:])
	h.refcountOrder, h.length = be.Uint32(b[96:]), be.Uint32(b[100:])
	switch {
	case h.length < v3HeaderLen || h.length%8 != 0:
		return corrupt("header length %d is below %d or no multiple of 8", h.length, v3HeaderLen)
	case int64(h.length) > h.clusterSize():
		return corrupt("header length %d is above the cluster size %d", h.length, h.clusterSize())
	case h.refcountOrder > 6:
		return corrupt("refcount order %d is above 6", h.refcountOrder)
	case h.extended() && h.clusterBits < 14:
		return corrupt("extended L2 entries with clusters of %d bytes, at least 16384 are needed", h.clusterSize())
	}
	if h.length > v3HeaderLen {
		c, err := p.At(v3HeaderLen, 1, "compression type")
		if err != nil {
			return err
		}
		h.compression = c[0]
	}
	if (h.compression != compressZlib) != (h.incompat&bitCompression != 0) {
		return corrupt("compression type %d disagrees with its feature bit", h.compression)
	}
	return nil
}

// readable refuses what this package cannot read.
func (h *header) readable(backing bool) error {
	if unknown := h.unknownIncompat(); len(unknown) > 0 {
		return unsupported("unknown incompatible features: %s", strings.Join(unknown, ", "))
	}
	if h.crypt != 0 {
		return errdef.WithHint(unsupported("image is encrypted (%s)", encryption(h.crypt)),
			"decrypt it first: qemu-img convert --image-opts … -O qcow2 plain.qcow2")
	}
	if h.incompat&bitDataFile != 0 {
		return errdef.WithHint(unsupported("image has an external data file %q", h.dataFile),
			"put it into one file first: qemu-img convert -O qcow2 x.qcow2 flat.qcow2")
	}
	if h.autoclear&bitDataFileRaw != 0 {
		return corrupt("raw external data bit without an external data file")
	}
	if h.compression > compressZstd {
		return unsupported("compression type %d", h.compression)
	}
	if h.backingFile != "" && !backing {
		return errdef.WithHint(unsupported("image has a backing file %q", h.backingFile),
			"flatten it first: qemu-img convert -O qcow2 x.qcow2 flat.qcow2 (or --allow-backing DIR)")
	}
	return nil
}

// checkTables checks where the header says that tables are, against the size of the stored file.
func (h *header) checkTables(stored int64) error {
	mask := uint64(h.clusterSize() - 1)
	refBytes := uint64(h.refClusters) << h.clusterBits
	switch {
	case h.refClusters == 0:
		return corrupt("image has no refcount table")
	case refBytes > maxRefcountBytes:
		return corrupt("refcount table of %d clusters is too large", h.refClusters)
	case h.refOffset&mask != 0 || h.refOffset == 0:
		return corrupt("refcount table offset %d is not a cluster's", h.refOffset)
	case h.refOffset > uint64(stored):
		return corrupt("refcount table at %d lies past the end of the stored file (%d bytes)", h.refOffset, stored)
	case h.snapshots > maxSnapshots:
		return corrupt("%d snapshots, more than %d", h.snapshots, maxSnapshots)
	case h.snapshots > 0 && (h.snapshotOffset&mask != 0 || h.snapshotOffset == 0):
		return corrupt("snapshot table offset %d is not a cluster's", h.snapshotOffset)
	}
	return nil
}

func encryption(method uint32) string {
	switch method {
	case 1:
		return "aes"
	case 2:
		return "luks"
	}
	return ""
}

// cString cuts at the first zero byte: QEMU takes names as C strings.
func cString(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}
