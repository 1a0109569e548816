package bat

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/blob"
)

// A Parser reads the metadata of an image as an [image.Learner] does: it says what it needs next.
type Parser interface {
	Next(from int64) (image.Range, bool)
	Learn(r image.Range, p []byte, runs []image.Run) ([]image.Run, error)
}

// ErrBeyond is in the error of Load where metadata lie beyond the start of a file, which is all there is.
var ErrBeyond = errors.New("beyond what is known of the file")

// Load gives p all that it needs, out of the stored bytes in ra; -1: ra is only the start of a file. The first prefix
// bytes are read at once: where a read costs a round trip, that is one for all small tables.
func Load(ctx context.Context, format string, ra io.ReaderAt, stored, prefix int64, p Parser) error {
	var head, buf []byte
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		r, ok := p.Next(0)
		if !ok {
			return nil
		}
		if stored >= 0 && (r.Start > stored || r.Length > stored-r.Start) {
			return fmt.Errorf("%s: metadata at %d (%d bytes) lies past the end of the stored file (%d bytes): %w",
				format, r.Start, r.Length, stored, errdef.ErrCorrupt)
		}
		if head == nil {
			n := max(prefix, r.End())
			if stored >= 0 {
				n = min(n, stored)
			}
			head = make([]byte, n)
			got, err := ra.ReadAt(head, 0)
			if int64(got) < n && (!errors.Is(err, io.EOF) || stored >= 0) {
				return blob.Short(format, "header", 0, err)
			}
			head = head[:got]
		}
		var b []byte
		switch {
		case r.End() <= int64(len(head)):
			b = head[r.Start:r.End()]
		default:
			if int64(cap(buf)) < r.Length {
				buf = make([]byte, r.Length)
			}
			b = buf[:r.Length]
			n, err := ra.ReadAt(b, r.Start)
			if n < len(b) && stored < 0 && errors.Is(err, io.EOF) {
				return fmt.Errorf("%s: metadata at %d (%d bytes) lies %w: %w", format, r.Start, r.Length, ErrBeyond, errdef.ErrCorrupt)
			}
			if n < len(b) {
				return blob.Short(format, "metadata", r.Start, err)
			}
		}
		if _, err := p.Learn(r, b, nil); err != nil {
			return err
		}
	}
}

// Pieces are the parts that a long table is read in, and which of them were.
type Pieces struct {
	start, length int64
	seen          []bool
	left          int
	first         int // no piece before is left
}

// pieceLength is a multiple of every entry's size. A piece of it makes a bounded number of runs.
const pieceLength = 64 << 10

// NewPieces cuts length bytes at start.
func NewPieces(start, length int64) *Pieces {
	n := int((length + pieceLength - 1) / pieceLength)
	return &Pieces{start: start, length: length, seen: make([]bool, n), left: n}
}

// Done says that all pieces were seen.
func (p *Pieces) Done() bool { return p.left == 0 }

// Next returns the first piece at or behind from that was not seen.
func (p *Pieces) Next(from int64) (image.Range, bool) {
	i := int64(p.first)
	if from > p.start {
		i = max(i, (from-p.start+pieceLength-1)/pieceLength)
	}
	for ; i < int64(len(p.seen)); i++ {
		if !p.seen[i] {
			at := i * pieceLength
			return image.Range{Start: p.start + at, Length: min(pieceLength, p.length-at)}, true
		}
	}
	return image.Range{}, false
}

// See marks a piece. It returns the piece's offset in the table; ok is false if r is no piece, or was seen.
func (p *Pieces) See(r image.Range) (off int64, ok bool) {
	off = r.Start - p.start
	i := off / pieceLength
	if off < 0 || off%pieceLength != 0 || i >= int64(len(p.seen)) || p.seen[i] || r.Length != min(pieceLength, p.length-off) {
		return 0, false
	}
	p.seen[i] = true
	p.left--
	for p.first < len(p.seen) && p.seen[p.first] {
		p.first++
	}
	return off, true
}

// Trim drops what lies behind the first length bytes of the table.
func (p *Pieces) Trim(length int64) {
	if length >= p.length {
		return
	}
	n := int((length + pieceLength - 1) / pieceLength)
	for _, seen := range p.seen[n:] {
		if !seen {
			p.left--
		}
	}
	p.seen = p.seen[:n]
	p.first = min(p.first, n)
}

// Lowest is the first of the ranges in list that begins at or behind from.
func Lowest(from int64, list ...image.Range) (low image.Range, ok bool) {
	for _, r := range list {
		if r.Length > 0 && r.Start >= from && (!ok || r.Start < low.Start) {
			low, ok = r, true
		}
	}
	return low, ok
}
