package qcow2

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/blob"
	"github.com/cdictl/cdictl/lib/internal/span"
)

// firstLen tells the version, the cluster size and the length of the header.
const firstLen = 112

// A Learner reads an image whose stored bytes come in order: header, snapshot table where a snapshot is wanted, L1
// table, L2 tables. It is as strict as Open, and never wants refcounts. See [image.Learner].
type Learner struct {
	o    Options
	step func(r image.Range, p []byte) error // takes the range that is wanted alone; nil once L2 tables are wanted
	want image.Range                         // that range, or the next piece of it
	end  int64                               // of the table that want is a piece of

	head   *header
	list   []stored // snapshots
	root   root
	disk   *disk // once the L1 table is to be read
	tables l2Tables

	farthest int64 // end of what runs lead to, as far as it must exist
}

var (
	_ image.Learner  = (*Learner)(nil)
	_ image.Measurer = (*Learner)(nil)
)

// NewLearner makes a Learner for one image. Options.Backing and Options.Gap have no meaning: an image with a backing file
// is refused.
func NewLearner(o Options) *Learner {
	o.Limits = o.Limits.WithDefaults()
	l := &Learner{o: o}
	l.ask(0, firstLen, l.first)
	return l
}

// ask wants n bytes at off, in pieces, for step.
func (l *Learner) ask(off, n int64, step func(image.Range, []byte) error) {
	l.want, l.end, l.step = image.Range{Start: off, Length: min(n, image.MaxWant)}, off+n, step
}

// more goes on to the next piece; false at the end of the table.
func (l *Learner) more() bool {
	at := l.want.End()
	if at >= l.end {
		return false
	}
	l.want = image.Range{Start: at, Length: min(l.end-at, image.MaxWant)}
	return true
}

// Next returns the lowest range from from on that is wanted.
func (l *Learner) Next(from int64) (image.Range, bool) {
	if l.step != nil {
		return l.want, l.want.Start >= from
	}
	return l.tables.next(from)
}

// Size is the virtual size of the disk or the snapshot, -1 until it is known.
func (l *Learner) Size() int64 {
	if l.disk == nil {
		return -1
	}
	return l.disk.size
}

// Learn takes a range that Next returned.
func (l *Learner) Learn(r image.Range, p []byte, runs []image.Run) ([]image.Run, error) {
	if int64(len(p)) != r.Length {
		return runs, fmt.Errorf("qcow2: %d bytes for a range of %d: %w", len(p), r.Length, errdef.ErrUsage)
	}
	if l.step != nil {
		if r != l.want {
			return runs, fmt.Errorf("qcow2: range %+v was not wanted: %w", r, errdef.ErrUsage)
		}
		return runs, l.step(r, p)
	}
	guest, ok := l.tables.take(r)
	if !ok {
		return runs, fmt.Errorf("qcow2: range %+v was not wanted: %w", r, errdef.ErrUsage)
	}
	return l.runs(guest, p, runs)
}

func (l *Learner) first(_ image.Range, p []byte) error {
	if !Match(p) {
		return unsupported("no qcow2 magic with a version of 2 or 3")
	}
	bits := binary.BigEndian.Uint32(p[20:])
	if bits < minClusterBits || bits > maxClusterBits {
		return corrupt("cluster bits %d not in %d..%d", bits, minClusterBits, maxClusterBits)
	}
	// Every image has its first cluster: the refcount table lies behind it.
	l.ask(0, min(int64(1)<<bits, image.MaxWant), l.header)
	return nil
}

func (l *Learner) header(_ image.Range, p []byte) error {
	h, err := parseHeader(&blob.Blob{Format: "qcow2", Size: -1, Head: p})
	if err != nil {
		return err
	}
	if err := h.readable(false); err != nil {
		return err
	}
	if err := h.checkTables(maxHost); err != nil {
		return err
	}
	l.head = h
	if l.o.Snapshot == "" {
		return l.begin(root{offset: h.l1Offset, entries: h.l1Size, size: h.size})
	}
	if err := h.hasSnapshots(l.o.Snapshot); err != nil {
		return err
	}
	if h.snapshotOffset >= uint64(maxHost) {
		return corrupt("snapshot table at %d lies past the end of the stored file", h.snapshotOffset)
	}
	l.ask(int64(h.snapshotOffset), snapshotFixed, l.snapshot)
	return nil
}

// snapshot takes the fixed part of an entry, and what it returned by ask the rest of it.
func (l *Learner) snapshot(r image.Range, p []byte) error {
	s, n, err := parseSnapshot(p, l.head)
	if err != nil {
		return err
	}
	if err := l.o.Limits.CheckMetadata("snapshot table", r.End()+int64(n)-int64(l.head.snapshotOffset)); err != nil {
		return fmt.Errorf("qcow2: %w", err)
	}
	rest := func(r image.Range, p []byte) error {
		if err := s.parseRest(p); err != nil {
			return err
		}
		l.list = append(l.list, s)
		if len(l.list) < int(l.head.snapshots) {
			l.ask(r.End()+int64(padded(n)), snapshotFixed, l.snapshot)
			return nil
		}
		root, err := choose(l.list, l.o.Snapshot)
		if err != nil {
			return err
		}
		l.list = nil
		return l.begin(root)
	}
	if n == 0 {
		return rest(r, nil)
	}
	l.ask(r.End(), int64(n), rest)
	return nil
}

// begin wants the L1 table of the disk at r.
func (l *Learner) begin(r root) error {
	if err := l.o.Limits.CheckVirtualSize(r.size); err != nil {
		return fmt.Errorf("qcow2: %w", err)
	}
	// What is stored where is checked against the largest file that there could be, and again in Finish.
	d := layout(maxHost, l.head, r)
	need, err := d.l1Need(r, l.o.Limits)
	if err != nil {
		return err
	}
	l.disk, l.root, l.step = d, r, nil
	if need > 0 {
		l.ask(int64(r.offset), need*8, l.l1)
		return nil
	}
	return l.mapped()
}

func (l *Learner) l1(r image.Range, p []byte) error {
	// The first piece must come before room is made for all.
	want := r.Length
	if r.Start > int64(l.root.offset) {
		want = l.end - r.Start
	}
	l.disk.l1 = slices.Grow(l.disk.l1, int(want/8))
	for ; len(p) > 0; p = p[8:] {
		l.disk.l1 = append(l.disk.l1, binary.BigEndian.Uint64(p))
	}
	if l.more() {
		return nil
	}
	return l.mapped()
}

// mapped goes over to the L2 tables when the L1 table is complete.
func (l *Learner) mapped() error {
	d := l.disk
	d.setAreas(l.head, l.root)
	if err := d.checkL1(l.o.Limits); err != nil {
		return err
	}
	l.step = nil
	err := l.tables.init(d, l.o.Limits)
	d.l1 = nil
	return err
}

// Finish checks that all that the tables lead to lies in the stored bytes.
func (l *Learner) Finish(stored int64) error {
	if l.step != nil {
		return corrupt("table at %d (%d bytes) lies past the end of the stored file (%d bytes)", l.want.Start, l.want.Length, stored)
	}
	if err := l.head.checkTables(stored); err != nil {
		return err
	}
	if l.farthest > stored {
		return corrupt("data up to host offset %d lies past the end of the stored file (%d bytes)", l.farthest, stored)
	}
	return nil
}

// Unpack decodes a packed run into dst, see [Image.Unpack].
func (l *Learner) Unpack(dst, stored []byte) error {
	_, err := l.UnpackMeasured(dst, stored)
	return err
}

// UnpackMeasured is Unpack and tells how many of the stored bytes the cluster has: the next may begin in its last sector.
func (l *Learner) UnpackMeasured(dst, stored []byte) (int, error) {
	if int64(len(dst)) > l.disk.cluster() {
		return 0, fmt.Errorf("qcow2: unpack into %d bytes, a cluster has %d: %w", len(dst), l.disk.cluster(), errdef.ErrUsage)
	}
	return l.disk.unpacker.measured(dst, stored)
}

// runs appends the runs of a piece of an L2 table, which begins with the entry of the guest cluster at guest.
func (l *Learner) runs(guest int64, p []byte, runs []image.Run) ([]image.Run, error) {
	d := l.disk
	end := min(guest+int64(len(p))>>d.entryBits<<d.bits, d.size)
	var run image.Run // not appended yet, if it has a length
	flush := func() {
		if run.Length > 0 {
			runs = append(runs, run)
			far := run.StoredEnd()
			if run.Packed {
				far = run.Stored + 1 // whether enough of it is there, decoding tells
			}
			l.farthest = max(l.farthest, far)
		}
	}
	first := guest
	for guest < end {
		s, err := d.decode(p[(guest-first)>>d.bits<<d.entryBits:], guest)
		if err != nil {
			return runs, err
		}
		s.N = min(s.N, end-guest)
		guest = s.End()
		switch {
		case s.Kind.Extent() != image.Data:
		case s.Kind == span.Data && run.Length > 0 && run.Guest+run.Length == s.Guest && !run.Packed && run.Stored+run.Length == s.Host:
			run.Length += s.N
			run.StoredLength = run.Length
		default:
			flush()
			run = s.Run()
		}
	}
	flush()
	return runs, nil
}
