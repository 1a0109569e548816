package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/cdictl/cdictl/lib/errdef"
)

// A Record is how far an import has come, and of what.
type Record struct {
	Bind Bind
	// Done are the extents of the disk whose content is durable.
	Done Extents
	// Point is where a route that takes the stored bytes in order goes on; nil: it has no such place.
	Point *Point
}

// Bind is everything that decides which bytes the disk has. Records of two imports that differ in any of it have nothing
// to do with each other.
type Bind struct {
	Source, Identity string
	Stored           int64 // size
	Format, Codec    string
	Route            string
	Snapshot, Disk   string
	Checksum         string
	Size, ImageSize  int64 // of the disk, -1 where only the end tells
	Preallocate      bool
}

// Point is a place in the stored bytes.
type Point struct {
	// Stored is where decoding goes on, Out how much content lies before it, and Codec the decoder's own state there.
	Stored, Out int64
	Codec       []byte
	// Hashed is the place of Hash, the state of the running digest, at or before Stored. Nil: there is none.
	Hashed int64
	Hash   []byte
	// Source is what the source has noted for going on at Hashed.
	Source []byte
	// Tables is the sum of the tables that a hashed file was understood by.
	Tables []byte
	// Pos is how much of the content was taken, Out or more. What follows is of a stream with tables: what they said, and
	// what of the content before Pos waits for one.
	Pos    int64
	Learnt []Bytes
	Held   []Bytes
}

// Bytes is a part of a content.
type Bytes struct {
	Off  int64
	Data []byte
}

// magic names the format and its version. Another version is another magic, and no record to this one.
var magic = []byte("cdictl part 2\n")

// number is the most that one number takes.
const number = binary.MaxVarintLen64

// most is the most that p takes in a record.
func (p *Point) most() int {
	if p == nil {
		return 2 * number
	}
	n := 16*number + len(p.Codec) + len(p.Hash) + len(p.Source) + len(p.Tables)
	for _, list := range [][]Bytes{p.Learnt, p.Held} {
		for _, b := range list {
			n += 2*number + len(b.Data)
		}
	}
	return n
}

// Encode is the record as it is stored: magic, SHA-256 of the rest, the binding as a line of JSON, so that people can read
// whose it is, and the state in numbers of variable length.
func (r *Record) Encode() ([]byte, error) { return r.EncodeIn(nil) }

// EncodeIn is Encode in the memory of b, which may be nil, if it is enough.
func (r *Record) EncodeIn(b []byte) ([]byte, error) {
	bind, err := json.Marshal(r.Bind)
	if err != nil {
		return nil, err
	}
	done, err := r.Done.MarshalBinary()
	if err != nil {
		return nil, err
	}
	if n := min(len(magic)+sha256.Size+len(bind)+len(done)+r.Point.most(), MaxRecord); cap(b) < n {
		b = make([]byte, 0, min(n+n/4, MaxRecord)) // at once, and with room for the next: what grows takes twice as much for a while
	}
	w := writer{b: append(append(b[:0], magic...), make([]byte, sha256.Size)...)}
	w.b = append(append(w.b, bind...), '\n')
	w.bytes(done)
	w.point(r.Point)
	if len(w.b) > MaxRecord {
		return nil, fmt.Errorf("journal: a record of %d bytes: %w", len(w.b), errdef.ErrLimit)
	}
	sum := sha256.Sum256(w.b[len(magic)+sha256.Size:])
	copy(w.b[len(magic):], sum[:])
	return w.b, nil
}

// Decode reads what Encode wrote, and keeps b. Whatever else b is, torn, of another version or not ours, is an error that
// says so.
func Decode(b []byte) (*Record, error) {
	head := len(magic) + sha256.Size
	switch {
	case len(b) < head || !bytes.HasPrefix(b, magic):
		return nil, fmt.Errorf("journal: it is no record of this version: %w", errdef.ErrCorrupt)
	case sha256.Sum256(b[head:]) != [sha256.Size]byte(b[len(magic):head]):
		return nil, fmt.Errorf("journal: the record is damaged: %w", errdef.ErrCorrupt)
	}
	line, state, _ := bytes.Cut(b[head:], []byte{'\n'})
	r := new(Record)
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&r.Bind); err != nil {
		return nil, fmt.Errorf("journal: binding: %w: %w", err, errdef.ErrCorrupt)
	}
	rd := reader{b: state}
	if err := r.Done.UnmarshalBinary(rd.bytes()); err != nil {
		return nil, err
	}
	r.Point = rd.point()
	if rd.bad || len(rd.b) > 0 {
		return nil, fmt.Errorf("journal: the state has another shape: %w", errdef.ErrCorrupt)
	}
	return r, nil
}
