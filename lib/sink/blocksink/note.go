package blocksink

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/journal"
)

// notes are what of an import outlives its process: the importer's record, and what of the disk is held back. Each is
// whole at any moment, and they need not be of the same one: what is held back may be the newer.
type notes struct {
	record, ends journal.Store
	disk         atomic.Pointer[disk] // the open one
}

// notesIn are those of the device at path. One file a device, whatever the path looks like: a name that people know
// again, and enough of a sum to tell it from others.
func notesIn(folder, path string) *notes {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	known := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return '_'
	}, filepath.Base(path))
	sum := sha256.Sum256([]byte(path))
	name := fmt.Sprintf("%.40s-%x", known, sum[:8])
	return &notes{record: file{journal.In(folder, name+".record")}, ends: file{journal.In(folder, name+".ends")}}
}

// drop forgets both, first the one that speaks of the other.
func (n *notes) drop() error { return errors.Join(n.record.Drop(), n.ends.Drop()) }

// A file is one of them, in a folder of this user's alone.
type file struct{ journal.Dir }

// Load takes it only from this process's user: another could say what is done.
func (f file) Load() ([]byte, error) {
	fi, err := os.Lstat(f.Path())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !fi.Mode().IsRegular() || !ours(fi):
		return nil, fmt.Errorf("%s is no file of this user: %w", f.Path(), errdef.ErrRefused)
	}
	return f.Dir.Load()
}

// Save makes the folder for the first one.
func (f file) Save(b []byte) error {
	if err := os.MkdirAll(filepath.Dir(f.Path()), 0o700); err != nil {
		return err
	}
	return f.Dir.Save(b)
}

// A stamp ties a note to one import to one device. The same name may be another disk's after a reboot, so the token, which
// is nowhere else, lies on the device too.
type stamp struct {
	Token  string `json:"token"`
	Device int64  `json:"device"` // bytes
	Sector int64  `json:"sector"`
	Disk   int64  `json:"disk"` // bytes it was opened for, -1: only the end tells
}

const tokenBytes = 32

func newStamp(device, sector, disk int64) stamp {
	var t [tokenBytes]byte
	_, _ = rand.Read(t[:]) // never fails
	return stamp{hex.EncodeToString(t[:]), device, sector, disk}
}

// markAt is where the sector with the token lies: in the last page of the first MiB, which is held back, and where no
// format that wipefs or blkid know has its magic (those that look so far in do at powers of two and multiples of
// 64 KiB). It is not ok on a device that has no such place between its ends.
func markAt(device, sector int64) (off int64, ok bool) {
	return heldBytes - max(pageBytes, sector), device >= 2*heldBytes
}

// mark is the sector.
func (s stamp) mark() []byte {
	b := make([]byte, s.Sector)
	copy(b, "cdictl: import under way\n"+s.Token)
	return b
}

// noteMagic names the shape of a note and its version.
const noteMagic = "cdictl device 1\n"

// seal is a note as it is stored: magic, SHA-256 of the rest, the stamp as a line of JSON, so that people can read what it
// is of, and the content.
func (s stamp) seal(content ...[]byte) ([]byte, error) {
	line, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	n := len(noteMagic) + sha256.Size + len(line) + 1
	for _, c := range content {
		n += len(c)
	}
	b := append(make([]byte, 0, n), noteMagic...)
	b = append(b, make([]byte, sha256.Size)...)
	b = append(append(b, line...), '\n')
	for _, c := range content {
		b = append(b, c...)
	}
	sum := sha256.Sum256(b[len(noteMagic)+sha256.Size:])
	copy(b[len(noteMagic):], sum[:])
	return b, nil
}

// unseal reads what seal wrote, and keeps b.
func unseal(b []byte) (s stamp, content []byte, err error) {
	head := len(noteMagic) + sha256.Size
	switch {
	case len(b) < head || !bytes.HasPrefix(b, []byte(noteMagic)):
		return s, nil, fmt.Errorf("it is no record of this version: %w", errdef.ErrCorrupt)
	case sha256.Sum256(b[head:]) != [sha256.Size]byte(b[len(noteMagic):head]):
		return s, nil, fmt.Errorf("the record is damaged: %w", errdef.ErrCorrupt)
	}
	line, content, ok := bytes.Cut(b[head:], []byte{'\n'})
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil || !ok {
		return s, nil, fmt.Errorf("the record has no stamp: %w", errdef.ErrCorrupt)
	}
	if t, err := hex.DecodeString(s.Token); err != nil || len(t) != tokenBytes || s.Sector < 512 || s.Sector > maxSector || s.Device < 2*heldBytes || s.Disk < -1 || s.Disk > s.Device {
		return s, nil, fmt.Errorf("the record's stamp is none: %w", errdef.ErrCorrupt)
	}
	return s, content, nil
}

// noteOf reads a note; nil content if there is none.
func noteOf(from journal.Store) (s stamp, content []byte, err error) {
	b, err := from.Load()
	if err != nil || b == nil {
		return s, nil, err
	}
	return unseal(b)
}
