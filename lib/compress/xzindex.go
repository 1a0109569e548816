package compress

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"hash/crc32"
)

// xzIndex is an index that is read, checked, and written anew with the last of its records only. Nothing of it is kept, so
// that its length does not matter. Where it ends early, so does what the decoder gets.
type xzIndex struct {
	x            *xzScan
	crc, newCRC  hash.Hash32
	size, length int64     // of the index that is read, and of the one that is written
	left         uint64    // records
	all          hash.Hash // of the records
}

// index is behind the zero that an index begins with.
func (x *xzScan) index() error {
	i := &xzIndex{x: x, crc: crc32.NewIEEE(), newCRC: crc32.NewIEEE(), all: sha256.New()}
	i.crc.Write([]byte{0})
	i.size = 1
	n, err := i.read()
	if err != nil {
		return err
	}
	if n != x.before+x.seen {
		return x.damaged("the index has %d records for %d blocks", n, x.before+x.seen)
	}
	i.left = n
	x.pending = x.pending[:0]
	i.write(append([]byte{0}, binary.AppendUvarint(nil, x.seen)...))
	x.step = i.record
	return nil
}

// record copies one.
func (i *xzIndex) record() error {
	x := i.x
	x.pending = x.pending[:0]
	if i.left == 0 {
		x.step = i.end
		return nil
	}
	unpadded, err := i.read()
	if err != nil {
		return err
	}
	unpack, err := i.read()
	if err != nil {
		return err
	}
	b := binary.AppendUvarint(binary.AppendUvarint(nil, unpadded), unpack)
	i.all.Write(b)
	if i.left <= x.seen {
		i.write(b)
	}
	i.left--
	return nil
}

// read takes a number.
func (i *xzIndex) read() (uint64, error) {
	var b []byte
	for len(b) < 9 {
		p, err := i.x.get(1)
		if err != nil {
			return 0, err
		}
		i.crc.Write(p)
		i.size++
		b = append(b, p[0])
		if p[0] < 0x80 {
			if p[0] == 0 && len(b) > 1 { // not the shortest form, which xz wants
				return 0, i.x.damaged("a number of the index takes %d bytes, more than it has to", len(b))
			}
			v, _ := binary.Uvarint(b)
			return v, nil
		}
	}
	return 0, i.x.damaged("a number of the index takes more than %d bytes", len(b))
}

// check holds what ends the index and the stream against all that came before.
func (i *xzIndex) check(pad []byte, crc uint32, foot []byte) error {
	x, length := i.x, (int64(binary.LittleEndian.Uint32(foot[4:]))+1)*4
	switch {
	case !bytes.Equal(pad, make([]byte, len(pad))):
		return x.damaged("padding %x of the index", pad)
	case crc != i.crc.Sum32():
		return x.damaged("checksum %08x of the index is wrong", crc)
	case !bytes.Equal(foot[10:], xzFooter):
		return x.damaged("the footer ends in %q", foot[10:])
	case binary.LittleEndian.Uint32(foot) != crc32.ChecksumIEEE(foot[4:10]):
		return x.damaged("checksum %08x of the footer is wrong", binary.LittleEndian.Uint32(foot))
	case length != i.size:
		return x.damaged("the footer tells of an index of %d bytes, it has %d", length, i.size)
	case !bytes.Equal(foot[8:10], x.flags[:]):
		return x.damaged("flags of the footer are %x, of the header %x", foot[8:10], x.flags)
	case !bytes.Equal(i.all.Sum(nil), x.sums.Sum(nil)):
		return x.damaged("a record of the index is not of its block, of %d", x.before+x.seen)
	}
	return nil
}

func (i *xzIndex) write(p []byte) {
	i.newCRC.Write(p)
	i.length += int64(len(p))
	i.x.pending = append(i.x.pending, p...)
}

// end is behind the records: padding, a checksum, and the stream's footer.
func (i *xzIndex) end() error {
	x := i.x
	pad, err := x.get(int(-i.size & 3))
	if err != nil {
		return err
	}
	i.crc.Write(pad)
	i.size += int64(len(pad))
	tail, err := x.get(4 + 12)
	if err != nil {
		return err
	}
	i.size += 4
	if err := i.check(pad, binary.LittleEndian.Uint32(tail), tail[4:]); err != nil {
		return err
	}
	i.write(make([]byte, -i.length&3))
	x.pending = binary.LittleEndian.AppendUint32(x.pending, i.newCRC.Sum32())
	back := binary.LittleEndian.AppendUint32(nil, uint32((i.length+4)/4-1))
	back = append(back, x.flags[:]...)
	x.pending = binary.LittleEndian.AppendUint32(x.pending, crc32.ChecksumIEEE(back))
	x.pending = append(append(x.pending, back...), xzFooter...)
	x.step = x.stream
	return nil
}
