package vhdx

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"strings"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// Where the parts of the header section are (§2.1); what follows it begins at 1 MiB.
const (
	atHeader1    = 64 * kib
	atHeader2    = 128 * kib
	atRegions1   = 192 * kib
	atRegions2   = 256 * kib
	headersSize  = 320 * kib // the bytes that are read of it
	headerSize   = 4 * kib
	regionsSize  = 64 * kib
	sectionSize  = mib
	maxEntries   = 2047 // of the table of regions, and of that of metadata
	requiredFlag = 1    // of a region
)

// A guid is one as it is stored: the first three groups are little-endian numbers.
type guid [16]byte

// parseGUID reads the usual notation of a known GUID.
func parseGUID(s string) (g guid) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != len(g) {
		panic("vhdx: GUID " + s)
	}
	copy(g[:], b)
	for _, part := range [][]byte{g[0:4], g[4:6], g[6:8]} {
		for i, j := 0, len(part)-1; i < j; i, j = i+1, j-1 {
			part[i], part[j] = part[j], part[i]
		}
	}
	return g
}

func (g guid) String() string {
	le := binary.LittleEndian
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(g[:]), le.Uint16(g[4:]), le.Uint16(g[6:]), g[8:10], g[10:])
}

// Known regions (§2.2.3.2).
var (
	guidBAT      = parseGUID("2DC27766-F623-4200-9D64-115E9BFD4A08")
	guidMetadata = parseGUID("8B7CA206-4790-4B9A-B8FE-575F050F886E")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksummed reports whether the CRC-32C at offset 4 of b is that of b with zeros in its place.
func checksummed(b []byte) bool {
	sum := crc32.Update(0, castagnoli, b[:4])
	sum = crc32.Update(sum, castagnoli, make([]byte, 4))
	return crc32.Update(sum, castagnoli, b[8:]) == binary.LittleEndian.Uint32(b[4:])
}

// A header is the current one.
type header struct {
	sequence  uint64
	logGUID   guid
	logOffset int64
	logLength int64
}

// parseHeader finds the current header in the first headersSize bytes of a file.
func parseHeader(b []byte) (*header, error) {
	if !bytes.HasPrefix(b, []byte(Magic)) {
		return nil, unsupported("no signature")
	}
	h1, h2 := b[atHeader1:][:headerSize], b[atHeader2:][:headerSize]
	le := binary.LittleEndian
	valid := func(h []byte) bool { return bytes.HasPrefix(h, []byte("head")) && checksummed(h) }
	sequence := func(h []byte) uint64 { return le.Uint64(h[8:]) }
	v1, v2 := valid(h1), valid(h2)
	cur := h1
	switch {
	case !v1 && !v2:
		return nil, corrupt("no header, at %d or %d, has its signature and checksum", atHeader1, atHeader2)
	case !v1, v2 && sequence(h2) > sequence(h1):
		cur = h2
	case v2 && sequence(h1) == sequence(h2) && !bytes.Equal(h1, h2): // disk2vhd writes the same one twice
		return nil, corrupt("both headers have the sequence number %d and differ", sequence(h1))
	}
	if v := le.Uint16(cur[66:]); v != 1 {
		return nil, unsupported("version %d is not 1", v)
	}
	h := &header{sequence: sequence(cur), logGUID: guid(cur[48:64]), logLength: int64(le.Uint32(cur[68:]))}
	version, offset := le.Uint16(cur[64:]), le.Uint64(cur[72:])
	switch {
	case version != 0:
		return nil, unsupported("log version %d is not 0", version)
	case offset < sectionSize || offset%mib != 0 || offset > 1<<62:
		return nil, corrupt("log offset %d lies in the header section or on no MiB", offset)
	case h.logLength%mib != 0:
		return nil, corrupt("log length %d is no multiple of 1 MiB", h.logLength)
	}
	h.logOffset = int64(offset)
	return h, nil
}

// logged reports whether there may be something to replay.
func (h *header) logged() bool { return h.logGUID != guid{} && h.logLength > 0 }

// A region is a part of the file.
type region struct {
	id     guid
	offset int64
	length int64
}

func (r region) end() int64 { return r.offset + r.length }

// parseRegions reads the table of regions. Of the two copies the first that has its checksum counts; where both have
// it, they must be the same.
func parseRegions(t1, t2 []byte) ([]region, error) {
	valid := func(t []byte) bool { return bytes.HasPrefix(t, []byte("regi")) && checksummed(t) }
	t := t1
	switch v1, v2 := valid(t1), valid(t2); {
	case !v1 && !v2:
		return nil, corrupt("no table of regions, at %d or %d, has its signature and checksum", atRegions1, atRegions2)
	case v1 && v2 && !bytes.Equal(t1, t2):
		return nil, corrupt("the two tables of regions differ, at %d and %d", atRegions1, atRegions2)
	case !v1:
		t = t2
	}
	le := binary.LittleEndian
	n := le.Uint32(t[8:])
	if n > maxEntries {
		return nil, corrupt("table of %d regions, more than %d", n, maxEntries)
	}
	list := make([]region, 0, n)
	for e := t[16:]; n > 0; n, e = n-1, e[32:] {
		id, offset, length := guid(e[:16]), le.Uint64(e[16:]), le.Uint32(e[24:])
		if id != guidBAT && id != guidMetadata && le.Uint32(e[28:])&requiredFlag != 0 {
			return nil, unsupported("region %s must be known to read the file, and is not", id)
		}
		if offset < sectionSize || offset%mib != 0 || offset > 1<<62 || length == 0 || length%mib != 0 {
			return nil, corrupt("region %s at %d (%d bytes) does not lie on whole MiB behind the header section", id, offset, length)
		}
		list = append(list, region{id, int64(offset), int64(length)})
	}
	return list, nil
}
