package vmdk

import (
	"encoding/binary"
	"io"

	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/span"
)

// A layout is how an extent's tables look.
type layout uint8

const (
	layoutFlat layout = iota // none
	layout4                  // entries of 4 bytes, sectors: hosted and ESX Server sparse extents
	layoutSE                 // entries of 8 bytes: seSparse
)

func (l layout) entryBytes() int64 {
	if l == layoutSE {
		return 8
	}
	return 4
}

// An area of a stored file can hold no data.
type area struct {
	start, end int64
	what       string
}

// An extent is a part of a disk that one file holds, or all of it.
type extent struct {
	no          int   // among those of the disk
	start, size int64 // in the disk
	ra          io.ReaderAt
	stored      int64          // size of ra
	holes       image.Extenter // of ra, where a flat extent's file knows them
	name        string         // of the file, for messages; "" if there is only one

	layout layout
	flat   int64 // where a flat extent begins in its file

	grainBits, tableBits        uint // of the bytes of a grain, and of the entries of a table
	gd                          []uint32
	firstTable                  int64 // number of its first table among those of the disk
	zeroGrains, packed, markers bool
	seTables, seTablesN         int64 // where a seSparse extent has its tables, and how many bytes of them
	seGrains, seGrainsN         int64 // the same for its grains
	areas                       []area
}

func (e *extent) end() int64        { return e.start + e.size }
func (e *extent) grain() int64      { return 1 << e.grainBits }
func (e *extent) tableBytes() int64 { return e.layout.entryBytes() << e.tableBits }

// reach is how many bytes of the disk one table stands for.
func (e *extent) reach() int64 { return 1 << (e.grainBits + e.tableBits) }

// decodeDirectory makes sectors of the directory entries in b, of which the first is number i.
func (e *extent) decodeDirectory(dst []uint32, b []byte, i int64) error {
	if e.layout == layoutSE {
		return e.decodeSE(dst, b, i)
	}
	for k := range dst {
		dst[k] = binary.LittleEndian.Uint32(b[4*k:])
	}
	return nil
}

// spanTable reads the run that begins at byte off of the extent, in the grain of the first entry of tab; it does not look
// behind tab.
func (e *extent) spanTable(tab []byte, off int64) (span.Span, error) {
	in := off & (e.grain() - 1)
	grain := off - in
	kind, host, err := e.entry(tab, grain)
	if err != nil {
		return span.Span{}, err
	}
	s := span.Span{File: e.no, Kind: kind, Guest: e.start + off, N: e.grain() - in, Host: host + in}
	entry := int(e.layout.entryBytes())
	switch kind {
	case span.Packed:
		s.Host = host
		s.Packed = e.packedBound(grain, host)
		s.First, s.Length = e.start+grain, min(e.grain(), e.size-grain)
		s.N = min(s.N, e.size-off)
		return s, nil
	case span.Hole, span.Zero:
		first := string(tab[:entry])
		for t := tab[entry:]; len(t) > 0 && string(t[:entry]) == first; t = t[entry:] {
			s.N += e.grain()
		}
	case span.Data:
		for t := tab[entry:]; len(t) > 0; t = t[entry:] {
			host += e.grain()
			grain += e.grain()
			// What is wrong behind this run is for the next question.
			if k, h, wrong := e.entry(t, grain); wrong != nil || k != span.Data || h != host {
				break
			}
			s.N += e.grain()
		}
	}
	s.N = min(s.N, e.size-off)
	return s, nil //nolint:nilerr // as said
}

// packedBound is the most that the compressed grain at byte grain of the extent takes from host on. QEMU's bound is two
// grains; a grain that the extent's end cuts is bounded by what it has of it, as no tool stores zeros behind the end in
// more than a sliver.
func (e *extent) packedBound(grain, host int64) int64 {
	n := min(e.grain(), e.size-grain)
	return min(2*e.grain(), 2*n+4096, e.stored-host)
}

// entry reads the first entry of tab, which stands for the grain at byte grain of the extent, and checks it.
func (e *extent) entry(tab []byte, grain int64) (span.Kind, int64, error) {
	if e.layout == layoutSE {
		return e.entrySE(tab, grain)
	}
	at := binary.LittleEndian.Uint32(tab)
	switch {
	case at == 0:
		return span.Hole, 0, nil
	case at == gteZero && e.zeroGrains:
		return span.Zero, 0, nil
	}
	host := int64(at) * sector
	if e.packed {
		return span.Packed, host, e.checkHost(host, 1)
	}
	return span.Data, host, e.checkHost(host, min(e.grain(), e.size-grain))
}

// checkHost checks that n bytes at host can be a grain: they lie in the stored file, and in none of the places where
// something else is.
func (e *extent) checkHost(host, n int64) error {
	if host > e.stored || n > e.stored-host {
		return corrupt("grain at %d (%d bytes) lies past the end of the stored file (%d bytes)", host, n, e.stored)
	}
	for i := range e.areas {
		if a := &e.areas[i]; host < a.end && host+n > a.start {
			return corrupt("grain at %d (%d bytes) overlaps %s", host, n, a.what)
		}
	}
	return nil
}
