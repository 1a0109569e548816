// Package transfertest brings the Learners of formats together with transfer.Convert, for their fuzz targets.
package transfertest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format/formattest"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/transfer"
)

const (
	// smallHold has pieces of 4 KiB, so that tables and runs of a few clusters cross their ends.
	smallHold = 32 << 10
	largeHold = 1 << 20
	// maxIndex is the bound of the index in [Convert].
	maxIndex = 4 << 20
	// maxAllocated is what Convert may allocate beside the disk and the file: buffers, the index and its copies for
	// another pass, decoders.
	maxAllocated = 64 << 20
)

// Convert lets blob, which may be hostile in every way, pass through transfer.Convert, cut in pieces as script says, and
// holding as much of it as script says. What comes out must be what the Learner finds with the whole file at hand, which
// is what Open reads if it reads it; where the Learner has an error, Convert must have one, of a class. (Which files only
// one of Open and the Learner reads is for the format's own tests.) What Convert refuses for want of memory, of another
// pass or of a spool is no finding.
func Convert(t testing.TB, blob []byte, r formattest.Reader, script []byte) {
	t.Helper()
	want, wantErr := formattest.LearnDisk(r.Learner(), blob)
	if opened, err := open(blob, r); err == nil && wantErr == nil && !bytes.Equal(opened, want) {
		t.Fatalf("Open reads a disk of %d bytes, the Learner another of %d", len(opened), len(want))
	}
	s, d := newScript(script), &disk{t: t}
	c, err := s.convert(t, blob, r.Learner(), d)
	switch {
	case err == nil && wantErr != nil:
		t.Fatalf("%+v: Convert reads what is wrong for a Learner: %v", s, wantErr)
	case err == nil && !bytes.Equal(d.data, want):
		t.Fatalf("%+v: Convert makes another disk", s)
	case err == nil && (c.Stored != int64(len(blob)) || c.Size != int64(len(want)) || c.Data+c.Zero != c.Size):
		t.Fatalf("%+v: %+v of a file of %d and a disk of %d bytes", s, c, len(blob), len(want))
	case c.HeldMax > s.hold || c.Spooled > 0 && s.spool == nil:
		t.Fatalf("%+v: %+v", s, c)
	case err != nil && errdef.ExitCode(err) == 1:
		t.Fatalf("%+v: error of no class: %v", s, err)
	case err != nil && wantErr == nil && !s.excused(err, int64(len(blob))):
		t.Fatalf("%+v: %v, but a Learner reads it", s, err)
	}
}

func open(blob []byte, r formattest.Reader) ([]byte, error) {
	img, err := r.Open(bytes.NewReader(blob), int64(len(blob)))
	if err != nil {
		return nil, err
	}
	defer img.Close()
	disk := make([]byte, img.Size())
	_, err = io.ReadFull(io.NewSectionReader(img, 0, img.Size()), disk)
	return disk, err
}

// A script is how a stream comes.
type script struct {
	hold  int64
	again bool
	spool *memory
	cuts  []byte // lengths of reads, each in units that the byte's low bits choose
}

func newScript(b []byte) *script {
	s := &script{hold: smallHold}
	if len(b) > 0 {
		if b[0] >= 128 {
			s.hold = largeHold
		}
		switch b[0] % 3 {
		case 1:
			s.again = true
		case 2:
			s.spool = new(memory)
		}
		s.cuts = b[1:]
	}
	return s
}

func (s *script) convert(t testing.TB, blob []byte, l image.Learner, d *disk) (transfer.Converted, error) {
	reader := func() io.Reader { return &pieces{bytes.NewReader(blob), s.cuts, 0} }
	co := transfer.ConvertOptions{Hold: s.hold, Size: d.resize}
	if s.again {
		co.Again = func(context.Context) (io.Reader, error) { return reader(), nil }
	}
	if s.spool != nil {
		co.Spool = func(int64) (transfer.SpoolFile, error) { return s.spool, nil }
	}
	before := formattest.Allocated()
	c, err := transfer.Convert(t.Context(), d, reader(), l, co, transfer.Options{Workers: 2, Segment: 64 << 10, MaxIndex: maxIndex})
	if n := formattest.Allocated() - before; n > maxAllocated+uint64(4*len(blob)+len(d.data)) {
		t.Fatalf("%+v: %d bytes were allocated for a file of %d and a disk of %d", s, n, len(blob), len(d.data))
	}
	return c, err
}

// excused says whether a stream of n bytes may end in err although a file would be read.
func (s *script) excused(err error, n int64) bool {
	switch {
	case errors.Is(err, errdef.ErrScratchNeeded):
		return !s.again && s.spool == nil && n > s.hold/2
	case errors.Is(err, errdef.ErrUnsupported): // stored once, used twice; tables that lead from end to end; a long packed run
		return n > s.hold/2 || strings.Contains(err.Error(), "more than can be held")
	}
	return false
}

// pieces is a reader that gives as much at a time as cuts say, over and over.
type pieces struct {
	r    io.Reader
	cuts []byte
	i    int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.cuts) > 0 {
		c := int(p.cuts[p.i%len(p.cuts)])
		p.i++
		n := c>>2 + 1
		if c&3 != 0 {
			n <<= 3 * (c & 3) // up to 32 KiB
		}
		b = b[:min(n, len(b))]
	}
	return p.r.Read(b)
}
