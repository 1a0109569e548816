package images

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// grainStream writes the sectors of a streamOptimized disk one behind the other, so that a disk may be larger than memory.
// An error stays until the end.
type grainStream struct {
	w   *bufio.Writer
	at  int64
	err error
	z   bytes.Buffer
	def *zlib.Writer
}

func (s *grainStream) write(b []byte) {
	if s.err == nil {
		_, s.err = s.w.Write(b)
	}
	s.at += int64(len(b))
}

// pad goes on to the next sector and returns its number.
func (s *grainStream) pad() uint32 {
	var zeros [sector]byte
	s.write(zeros[:-s.at&(sector-1)])
	return uint32(s.at / sector)
}

// marker writes one that is followed by body, and returns the sector of that.
func (s *grainStream) marker(kind, sectors uint32, body []byte) uint32 {
	m := make([]byte, sector)
	binary.LittleEndian.PutUint64(m, uint64(sectors))
	binary.LittleEndian.PutUint32(m[12:], kind)
	s.write(m)
	at := s.pad()
	s.write(body)
	s.pad()
	return at
}

// grain writes one, packed, that begins at a sector of the disk, and returns where.
func (s *grainStream) grain(first int64, p []byte) (at uint32, err error) {
	s.z.Reset()
	s.def.Reset(&s.z)
	if _, err := s.def.Write(p); err != nil {
		return 0, err
	}
	if err := s.def.Close(); err != nil {
		return 0, err
	}
	at = s.pad()
	m := make([]byte, 12)
	binary.LittleEndian.PutUint64(m, uint64(first))
	binary.LittleEndian.PutUint32(m[8:], uint32(s.z.Len()))
	s.write(m)
	s.write(s.z.Bytes())
	s.pad()
	return at, s.err
}

// writeStream makes a streamOptimized disk as VMware does: every table behind its grains, the directory and a footer at
// the end, an end-of-stream marker.
func writeStream(raw, path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	s := &grainStream{w: bufio.NewWriterSize(f, 1<<20)}
	if s.def, err = zlib.NewWriterLevel(nil, zlib.BestSpeed); err != nil {
		return err
	}
	const grain, perTable, overhead = 64 << 10, 512, 128
	size := fileSize(raw)
	tables := int((size + grain*perTable - 1) / (grain * perTable))
	header := make([]byte, sector)
	copy(header, "KDMV")
	le := binary.LittleEndian
	le.PutUint32(header[4:], 3)
	le.PutUint32(header[8:], 1|1<<16|1<<17)
	for off, v := range map[int]uint64{12: uint64(size / sector), 20: grain / sector, 28: 1, 36: 20, 56: 1<<64 - 1, 64: overhead} {
		le.PutUint64(header[off:], v)
	}
	le.PutUint32(header[44:], perTable)
	copy(header[73:], "\n \r\n")
	le.PutUint16(header[77:], 1)
	s.write(header)
	s.write(fmt.Appendf(nil, "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\nRDONLY %d SPARSE %q\n", size/sector, filepath.Base(path)))
	s.write(make([]byte, overhead*sector-s.at))

	gd := make([]byte, (tables*4+sector-1)&^(sector-1))
	table, current := make([]byte, perTable*4), -1
	flush := func() {
		if current >= 0 {
			le.PutUint32(gd[4*current:], s.marker(1, perTable*4/sector, table))
			clear(table)
		}
	}
	if _, err := eachGrain(raw, grain, func(no int, p []byte) error {
		if no/perTable != current {
			flush()
			current = no / perTable
		}
		at, err := s.grain(int64(no)*grain/sector, p)
		le.PutUint32(table[no%perTable*4:], at)
		return err
	}); err != nil {
		return err
	}
	flush()
	le.PutUint64(header[56:], uint64(s.marker(2, uint32(len(gd)/sector), gd)))
	s.marker(3, 1, header)
	s.marker(0, 0, nil)
	return errors.Join(s.err, s.w.Flush())
}
