package qcow2

import (
	"encoding/binary"
	"fmt"

	"github.com/cdictl/cdictl/lib/internal/blob"
)

// Header extension types.
const (
	extEnd           = 0x00000000
	extBackingFormat = 0xe2792aca
	extFeatureNames  = 0x6803f857
	extBitmaps       = 0x23852875
	extEncryption    = 0x0537be77
	extDataFile      = 0x44415441
)

const (
	maxFormatName  = 255
	featureLen     = 48
	maxFeatures    = 3 * 64 // one for every bit of the three masks
	bitmapsLen     = 24
	encryptionLen  = 16
	maxDataFileLen = 1023
)

// A feature is an entry of the feature name table.
type feature struct {
	kind, bit byte
	name      string
}

// parseExtensions reads the header extensions, which end at an end mark or at end.
func (h *header) parseExtensions(p *blob.Blob, end int64) error {
	be := binary.BigEndian
	for off := int64(h.length); off+8 <= end; {
		b, err := p.At(off, 8, "header extension")
		if err != nil {
			if p.Size >= 0 && off >= p.Size {
				return nil // a file of less than a cluster: there are no more extensions
			}
			return err
		}
		typ, n := be.Uint32(b), int64(be.Uint32(b[4:]))
		if typ == extEnd {
			return nil
		}
		off += 8
		if n > end-off {
			return corrupt("header extension %#x of %d bytes at %d passes the end of the header area", typ, n, off-8)
		}
		if err := h.extension(p, typ, off, n); err != nil {
			return err
		}
		off += (n + 7) &^ 7
	}
	return nil
}

// extension reads the n bytes of one extension at off, which lie in the first cluster.
func (h *header) extension(p *blob.Blob, typ uint32, off, n int64) error {
	var low, high int64
	switch typ {
	case extBackingFormat:
		high = maxFormatName
	case extFeatureNames:
		// A table longer than there are bits has entries twice: what lies behind them is not looked at.
		n = min(n, maxFeatures*featureLen)
		high = n
	case extBitmaps:
		low, high = bitmapsLen, bitmapsLen
	case extEncryption:
		low, high = encryptionLen, encryptionLen
	case extDataFile:
		high = maxDataFileLen
	default:
		return nil
	}
	if n < low || n > high {
		return corrupt("header extension %#x has %d bytes, want %d to %d", typ, n, low, high)
	}
	b, err := p.At(off, n, fmt.Sprintf("header extension %#x", typ))
	if err != nil {
		return err
	}
	switch typ {
	case extBackingFormat:
		h.backingFormat = cString(b)
	case extDataFile:
		h.dataFile = cString(b)
	case extBitmaps:
		h.bitmaps = binary.BigEndian.Uint32(b)
	case extFeatureNames:
		for ; len(b) >= featureLen; b = b[featureLen:] {
			h.features = append(h.features, feature{b[0], b[1], cString(b[2:featureLen])})
		}
	}
	return nil
}

// unknownIncompat names the incompatible features that are set and not known.
func (h *header) unknownIncompat() []string {
	var names []string
	for bit := range 64 {
		if h.incompat&^knownIncompat&(1<<bit) != 0 {
			names = append(names, h.featureName(0, bit))
		}
	}
	return names
}

// featureName gives the name that the image has for a bit, or its number.
func (h *header) featureName(kind, bit int) string {
	for _, f := range h.features {
		if int(f.kind) == kind && int(f.bit) == bit && f.name != "" {
			return fmt.Sprintf("%q (bit %d)", f.name, bit)
		}
	}
	return fmt.Sprintf("bit %d", bit)
}
