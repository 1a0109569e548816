package content

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
)

const (
	// wholeHead reaches over all superblocks that are looked for: the last is that of btrfs, 4 KiB at 64 KiB.
	wholeHead = 68 << 10
	// maxProblems are told. One partition may make two.
	maxProblems = 32
)

// runs are what is read of a volume at once, where a read may cost a round trip: most superblocks; ZFS; ISO 9660; btrfs,
// UFS and swap space of pages of 64 KiB.
var runs = []struct{ off, n int64 }{{0, 10 << 10}, {16 << 10, 1 << 10}, {32 << 10, 2 << 10}, {65024, wholeHead - 65024}}

// errBudget says that no more may be read.
var errBudget = errors.New("budget is used up")

// A disk reads within a budget, and collects what is wrong.
type disk struct {
	ctx      context.Context // of Inspect
	ra       io.ReaderAt
	size     int64 // -1: not known
	left     int64
	partial  bool
	problems []string
}

func (d *disk) problem(format string, args ...any) {
	switch {
	case len(d.problems) < maxProblems:
		d.problems = append(d.problems, fmt.Sprintf(format, args...))
	case len(d.problems) == maxProblems:
		d.problems = append(d.problems, "and more")
	}
}

// read returns n bytes at off, fewer where the disk, or what is known of it, ends.
func (d *disk) read(off, n int64) ([]byte, error) {
	if err := d.ctx.Err(); err != nil {
		return nil, err
	}
	if d.size >= 0 {
		n = min(n, d.size-off)
	}
	if off < 0 || n <= 0 {
		return nil, nil
	}
	if n > d.left {
		d.partial = true
		return nil, errBudget
	}
	d.left -= n
	b := make([]byte, n) // bounded by the budget
	got, err := d.ra.ReadAt(b, off)
	got = max(0, min(got, len(b)))
	if got < len(b) && (err == nil || errors.Is(err, io.EOF)) {
		d.partial, err = true, nil
	}
	if got == len(b) {
		err = nil
	}
	return b[:got], err
}

// readOr is read for what the rest can do without: an error is a problem.
func (d *disk) readOr(what string, off, n int64) []byte {
	b, err := d.read(off, n)
	if err != nil && !errors.Is(err, errBudget) && d.ctx.Err() == nil {
		d.problem("%s at %d cannot be read: %v", what, off, err)
	}
	return b
}

// A volume is a part of the disk that may hold a filesystem.
type volume struct {
	d      *disk
	start  int64
	size   int64 // -1: not known
	pieces []piece
	failed bool // a read did: said once
}

// A piece is what was read of the want bytes at off; fewer are there if that is all that is known.
type piece struct {
	off, want int64
	b         []byte
}

func (d *disk) volume(start, size int64) *volume { return &volume{d: d, start: start, size: size} }

// load reads a piece.
func (v *volume) load(off, want int64) error {
	n := want
	if v.size >= 0 {
		n = min(n, v.size-off)
	}
	var err error
	p := piece{off: off, want: want}
	if off <= math.MaxInt64-v.start {
		p.b, err = v.d.read(v.start+off, n)
	}
	v.pieces = append(v.pieces, p)
	return err
}

// at returns n bytes at off, nil if they are not there. Both may come from an image.
func (v *volume) at(off, n int64) []byte {
	if off < 0 || n <= 0 || off > math.MaxInt64-n {
		return nil
	}
	if b, known := v.have(off, n); known {
		return b
	}
	from, want := off, n
	for _, r := range runs {
		if off >= r.off && off+n <= r.off+r.n {
			from, want = r.off, r.n
		}
	}
	if err := v.load(from, want); err != nil && !v.failed && !errors.Is(err, errBudget) && v.d.ctx.Err() == nil {
		v.failed = true
		v.d.problem("content at %d cannot be read: %v", v.start+from, err)
	}
	b, _ := v.have(off, n)
	return b
}

// have looks into what was read.
func (v *volume) have(off, n int64) (b []byte, known bool) {
	for _, p := range v.pieces {
		if off < p.off || off+n > p.off+p.want {
			continue
		}
		if off+n > p.off+int64(len(p.b)) {
			return nil, true
		}
		return p.b[off-p.off:][:n], true
	}
	return nil, false
}
