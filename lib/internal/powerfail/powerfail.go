// Package powerfail is a model of what a power failure leaves of a folder, for tests. It is harder than any filesystem: the
// content of a file is durable only after its Sync, a name only after the SyncFolder of its folder, and neither brings the
// other along, not even for a file that was just made. Whatever is not durable may be there, be missing, or be there in
// parts. That things arrive in another order comes down to the same: the later one is there, the earlier one missing.
package powerfail

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"github.com/cdictl/cdictl/lib/internal/fsop"
)

// A Folder is one folder as a program sees it, and what of it is durable. Not safe for concurrent use.
type Folder struct {
	now     names
	durable names
	pending []renaming // since the last SyncFolder
}

type names map[string]*file

// renaming is one operation on names, which is made as a whole or not at all: nil takes a name away.
type renaming map[string]*file

type file struct {
	now, durable []byte
	pending      []change // since the last Sync
}

// change is data at off, or with size >= 0 a new size.
type change struct {
	off  int64
	data []byte
	size int64
}

// Files are names and contents; one slice under two names is one file.
type Files map[string][]byte

// New is a folder of which all is durable.
func New(files Files) *Folder {
	f := &Folder{now: names{}}
	for name, b := range files {
		f.now[name] = &file{now: bytes.Clone(b), durable: bytes.Clone(b)}
	}
	f.durable = maps.Clone(f.now)
	return f
}

// Apply is told that op was made. Paths count by their last element.
func (f *Folder) Apply(op fsop.Op) error {
	name := filepath.Base(op.Path)
	is := f.now[name]
	switch op.Kind {
	case fsop.SyncFolder:
		f.durable, f.pending = maps.Clone(f.now), nil
		return nil
	case fsop.Create:
		f.rename(renaming{name: {}})
		return nil
	}
	if is == nil {
		return fmt.Errorf("%s of %s, which is not there", op.Kind, name)
	}
	switch op.Kind {
	case fsop.Write:
		is.write(op.Off, bytes.Clone(op.Data))
	case fsop.Zero:
		is.write(op.Off, make([]byte, op.N))
	case fsop.Truncate:
		is.change(change{size: op.N})
	case fsop.Sync:
		is.durable, is.pending = bytes.Clone(is.now), nil
	case fsop.Rename:
		f.rename(renaming{name: nil, filepath.Base(op.To): is})
	case fsop.Link:
		f.rename(renaming{filepath.Base(op.To): is})
	case fsop.Remove:
		f.rename(renaming{name: nil})
	}
	return nil
}

func (f *Folder) rename(r renaming) {
	f.pending = append(f.pending, r)
	r.in(f.now)
}

func (r renaming) in(n names) {
	for name, is := range r {
		if is == nil {
			delete(n, name)
		} else {
			n[name] = is
		}
	}
}

func (x *file) write(off int64, data []byte) { x.change(change{off: off, data: data, size: -1}) }

func (x *file) change(c change) {
	x.pending = append(x.pending, c)
	x.now = c.in(x.now, nil)
}

// in makes c of b, of a write only those pieces that there says are there.
func (c change) in(b []byte, there func(piece int) bool) []byte {
	size := max(int64(len(b)), c.off+int64(len(c.data)))
	if c.size >= 0 {
		size = c.size
	}
	if more := size - int64(len(b)); more > 0 {
		b = append(b, make([]byte, more)...)
	}
	b = b[:size]
	if there == nil {
		copy(b[c.off:], c.data)
		return b
	}
	piece := sector
	if len(c.data) <= 8*sector {
		piece = sector / 8
	}
	for at := 0; at < len(c.data); at += piece {
		if there(at / piece) {
			copy(b[c.off+int64(at):], c.data[at:min(at+piece, len(c.data))])
		}
	}
	return b
}

// sector is what of a write is there or not. Devices do not tear it, but records are no longer than one, so of a short write
// it is an eighth.
const sector = 512

// Now is what a process that is killed leaves.
func (f *Folder) Now() Files {
	files := Files{}
	for name, is := range f.now {
		files[name] = is.now
	}
	return files
}

// A Survival says how much of what is not durable is there after a power failure.
type Survival struct{ Names, Content float64 }

// Survivals are the extremes, and what lies between.
var Survivals = []Survival{{0, 0}, {1, 0}, {0, 1}, {1, 1}, {.5, .5}, {1, .5}, {.8, .1}}

// Fail is what may be there after a power failure.
func (f *Folder) Fail(how Survival, rng *rand.Rand) Files {
	left := maps.Clone(f.durable)
	for _, r := range f.pending {
		if rng.Float64() < how.Names {
			r.in(left)
		}
	}
	files, done := Files{}, map[*file][]byte{}
	for _, name := range slices.Sorted(maps.Keys(left)) { // in order, so that rng gives the same again
		is := left[name]
		if _, ok := done[is]; !ok {
			done[is] = is.fail(how.Content, rng)
		}
		files[name] = done[is]
	}
	return files
}

func (x *file) fail(content float64, rng *rand.Rand) []byte {
	b := bytes.Clone(x.durable)
	for _, c := range x.pending {
		if c.size >= 0 {
			if rng.Float64() < content {
				b = c.in(b, nil)
			}
			continue
		}
		// A write that does not show at all does not make the file longer either.
		switch {
		case content >= 1:
			b = c.in(b, nil)
		case content > 0:
			b = c.in(b, func(int) bool { return rng.Float64() < content })
		}
	}
	return b
}

// Put makes dir hold files and nothing else.
func (files Files) Put(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	first := map[*byte]string{}
	for name, b := range files {
		path := filepath.Join(dir, name)
		if len(b) > 0 {
			if other, ok := first[&b[0]]; ok {
				if err := os.Link(other, path); err != nil {
					return err
				}
				continue
			}
			first[&b[0]] = path
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Get reads dir.
func Get(dir string) (Files, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := Files{}
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// Names are the names in order, with sizes.
func (files Files) Names() (list []string) {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		list = append(list, fmt.Sprintf("%s (%d)", name, len(files[name])))
	}
	return list
}
