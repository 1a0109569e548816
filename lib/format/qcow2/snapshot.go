package qcow2

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/blob"
	"github.com/cdictl/cdictl/lib/limits"
)

const (
	snapshotFixed    = 40
	maxSnapshotExtra = 1024 // QEMU refuses more
)

// A root is where a disk begins: an L1 table and the virtual size that it describes.
type root struct {
	offset  uint64
	entries uint32
	size    int64
}

// stored is a snapshot with its root.
type stored struct {
	Snapshot
	root root

	idLen, nameLen int
	extraLen       int64
}

// readSnapshots reads the snapshot table. It reads no more than Limits.Metadata.
func readSnapshots(ctx context.Context, ra io.ReaderAt, size int64, h *header, l limits.Limits) ([]stored, error) {
	if h.snapshots > maxSnapshots {
		return nil, corrupt("%d snapshots, more than %d", h.snapshots, maxSnapshots)
	}
	if h.snapshotOffset > math.MaxInt64/2 || (size >= 0 && h.snapshotOffset >= uint64(size)) {
		return nil, corrupt("snapshot table at %d lies past the end of the stored file (%d bytes)", h.snapshotOffset, size)
	}
	t := &snapshotTable{start: int64(h.snapshotOffset), limit: l.Metadata, size: size}
	t.r = bufio.NewReaderSize(io.NewSectionReader(ra, t.start, l.Metadata), 16<<10)
	var list []stored
	for i := range h.snapshots {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s, err := t.next(h)
		if err != nil {
			return nil, fmt.Errorf("%w (snapshot %d of %d)", err, i+1, h.snapshots)
		}
		list = append(list, s)
	}
	return list, nil
}

// A snapshotTable reads entries one behind the other.
type snapshotTable struct {
	r     *bufio.Reader
	start int64 // of the table
	done  int64 // bytes of it that were read
	limit int64
	size  int64 // of the stored file; -1 unknown
}

// read returns the next n bytes; n is bounded by the caller.
func (t *snapshotTable) read(n int) ([]byte, error) {
	if t.done+int64(n) > t.limit {
		return nil, errdef.WithHint(fmt.Errorf("qcow2: snapshot table is above the limit of %d bytes: %w", t.limit, errdef.ErrLimit),
			"if the image is trusted, raise --max-metadata")
	}
	if end := t.start + t.done + int64(n); t.size >= 0 && end > t.size {
		return nil, corrupt("snapshot table passes the end of the stored file (%d bytes)", t.size)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(t.r, b); err != nil {
		return nil, blob.Short("qcow2", "snapshot table", t.start+t.done, err)
	}
	t.done += int64(n)
	return b, nil
}

func (t *snapshotTable) next(h *header) (stored, error) {
	b, err := t.read(snapshotFixed)
	if err != nil {
		return stored{}, err
	}
	s, n, err := parseSnapshot(b, h)
	if err != nil {
		return stored{}, err
	}
	v, err := t.read(n)
	if err != nil {
		return stored{}, err
	}
	if err := s.parseRest(v); err != nil {
		return stored{}, err
	}
	if skip := padded(n); skip > 0 {
		// The padding behind the last entry need not be in the file.
		skipped, err := t.r.Discard(skip)
		t.done += int64(skipped)
		if err != nil && !errors.Is(err, io.EOF) {
			return stored{}, blob.Short("qcow2", "snapshot table", t.start+t.done, err)
		}
	}
	return s, nil
}

// parseSnapshot reads the fixed part of an entry, and tells how long the rest is.
func parseSnapshot(b []byte, h *header) (s stored, rest int, err error) {
	be := binary.BigEndian
	s = stored{root: root{offset: be.Uint64(b), entries: be.Uint32(b[8:]), size: h.size}}
	s.idLen, s.nameLen, s.extraLen = int(be.Uint16(b[12:])), int(be.Uint16(b[14:])), int64(be.Uint32(b[36:]))
	s.Date = time.Unix(int64(be.Uint32(b[16:])), int64(be.Uint32(b[20:]))).UTC()
	s.VMClock = time.Duration(be.Uint64(b[24:]) & math.MaxInt64)
	s.VMStateSize = int64(be.Uint32(b[32:]))
	s.Icount = -1
	if s.extraLen > maxSnapshotExtra {
		return stored{}, 0, corrupt("snapshot has %d bytes of extra data, more than %d", s.extraLen, maxSnapshotExtra)
	}
	return s, int(s.extraLen) + s.idLen + s.nameLen, nil
}

// parseRest reads what follows the fixed part.
func (s *stored) parseRest(v []byte) error {
	be := binary.BigEndian
	extra, names := v[:s.extraLen], v[s.extraLen:]
	if len(extra) >= 8 {
		s.VMStateSize = int64(be.Uint64(extra) & math.MaxInt64)
	}
	if len(extra) >= 16 {
		size := be.Uint64(extra[8:])
		if size > math.MaxInt64 {
			return corrupt("snapshot's virtual size %d is above 2^63", size)
		}
		s.root.size = int64(size)
	}
	if len(extra) >= 24 {
		s.Icount = int64(be.Uint64(extra[16:]))
	}
	s.ID, s.Name = cString(names[:s.idLen]), cString(names[s.idLen:])
	s.VirtualSize = s.root.size
	return nil
}

// padded is how many bytes lie between an entry with n bytes behind its fixed part and the next one.
func padded(n int) int { return (snapshotFixed+n+7)&^7 - snapshotFixed - n }

// findSnapshot finds the snapshot that o names.
func findSnapshot(ctx context.Context, ra io.ReaderAt, size int64, h *header, o Options) (root, error) {
	if err := h.hasSnapshots(o.Snapshot); err != nil {
		return root{}, err
	}
	list, err := readSnapshots(ctx, ra, size, h, o.Limits)
	if err != nil {
		return root{}, err
	}
	return choose(list, o.Snapshot)
}

func (h *header) hasSnapshots(name string) error {
	if h.snapshots == 0 {
		return fmt.Errorf("qcow2: snapshot %q: the image has no snapshots: %w", name, errdef.ErrNotFound)
	}
	return nil
}

// choose returns the snapshot of that name or ID.
func choose(list []stored, name string) (root, error) {
	for _, s := range list {
		if s.ID == name {
			return s.root, nil
		}
	}
	var found []stored
	for _, s := range list {
		if s.Name == name {
			found = append(found, s)
		}
	}
	switch len(found) {
	case 1:
		return found[0].root, nil
	case 0:
		return root{}, errdef.WithHint(fmt.Errorf("qcow2: snapshot %q: %w", name, errdef.ErrNotFound),
			"cdictl info lists the snapshots of an image")
	}
	return root{}, errdef.WithHint(fmt.Errorf("qcow2: %d snapshots are named %q: %w", len(found), name, errdef.ErrUsage),
		fmt.Sprintf("name one by its ID, such as %q", found[0].ID))
}
