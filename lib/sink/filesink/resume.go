package filesink

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/fsop"
	"github.com/cdictl/cdictl/lib/internal/journal"
	"github.com/cdictl/cdictl/lib/sink"
)

// resume goes on with the part that is there.
func (t *Target) resume(ctx context.Context, path, part string, o sink.Options) (sink.Sink, error) {
	f, err := reopenPart(part, t.owners(path))
	if err != nil {
		return nil, t.reopened(err)
	}
	d := newDisk(t, f, path, part, o)
	d.keep = true // until the caller knows what it is
	fi, err := f.Stat()
	if err == nil && fi.Size() == 0 {
		// Its writer was killed before it could drop the journal of a part before this one.
		err = fmt.Errorf("the part is empty: %w", fs.ErrNotExist)
	}
	if err == nil && o.Size >= 0 && fi.Size() != o.Size {
		err = fmt.Errorf("the part has %d bytes, not %d: %w", fi.Size(), o.Size, fs.ErrNotExist)
	}
	if err == nil {
		d.grown.Store(fi.Size())
		// Zeros over what was written before must be made; over holes they need not be.
		if dataRuns(f, d.written.mark) != nil && fi.Size() > 0 {
			d.written.mark(0, fi.Size())
		}
		err = d.prepare(ctx)
	}
	if err != nil {
		_ = d.Close()
		return nil, t.reopened(err)
	}
	return d, nil
}

// reopened lets fs.ErrNotExist through, which explain would drop the text of.
func (t *Target) reopened(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return t.fail("resume", err)
	}
	return t.explain("resume", err, -1)
}

// owners are those, beside this process's, that a part may have been given to.
func (t *Target) owners(path string) []int {
	var list []int
	if t.o.UID != nil {
		list = append(list, *t.o.UID)
	}
	if fi, err := os.Stat(path); err == nil && t.o.Force {
		list = append(list, ownerOf(fi))
	}
	return list
}

// Sync makes what was written durable.
func (d *disk) Sync(ctx context.Context) error {
	if err := d.alive(); err != nil {
		return err
	}
	if err := d.sync(ctx); err != nil {
		return d.t.explain("flush", err, -1)
	}
	return nil
}

// Keep says what Close does with a part that was not committed.
func (d *disk) Keep(keep bool) {
	d.state.Lock()
	defer d.state.Unlock()
	d.keep = keep
}

// Journal is a hidden file beside the part.
func (t *Target) Journal() (sink.Journal, error) {
	path, err := t.resolve()
	if err != nil {
		return nil, err
	}
	return record{t, t.journalOf(path)}, nil
}

// record is the journal's file.
type record struct {
	t *Target
	journal.Dir
}

// Load takes the record only from this process's user: where many may write to the folder, another could say what is done.
func (r record) Load() ([]byte, error) {
	fi, err := os.Lstat(r.Path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && (!fi.Mode().IsRegular() || ownerOf(fi) != os.Geteuid()) {
		err = fmt.Errorf("%s is no file of this user: %w", r.Path(), errdef.ErrRefused)
	}
	if err != nil {
		return nil, r.t.explain("resume", err, -1)
	}
	return r.Dir.Load()
}

// journalOf is the journal of the part for path.
func (t *Target) journalOf(path string) journal.Dir {
	dir, name := filepath.Split(path)
	name = "." + name + ".cdictl.journal"
	if len(name)+len(".new") > 255 { // as partPath
		name = fmt.Sprintf(".%x.cdictl.journal", sha256.Sum256([]byte(filepath.Base(path))))
	}
	return journal.In(dir, name).Tapped(t.o.Tap)
}

// forget drops the journal of the part for path. It is gone for good then, even if somebody else has removed it just now
// and was killed before he could flush the folder; and so is a part that was removed before.
func (t *Target) forget(path string) error {
	return errors.Join(t.journalOf(path).Drop(), t.syncFolder(path))
}

// syncFolder makes the names beside path durable.
func (t *Target) syncFolder(path string) error {
	return t.o.Tap.Do(fsop.Op{Kind: fsop.SyncFolder, Path: path}, func() error { return syncFolder(path) })
}

func (t *Target) remove(path string) error {
	return t.o.Tap.Do(fsop.Op{Kind: fsop.Remove, Path: path}, func() error { return os.Remove(path) })
}

// tidy drops what a process killed between publishing the disk and its own end left: the journal, and where a disk gets its
// name by a link, its other name. A journal with another part is somebody's. No error: the target is there, and that is
// what is told.
func (t *Target) tidy(path string) {
	switch part, err := os.Lstat(partPath(path)); {
	case err == nil:
		disk, err := os.Lstat(path)
		if err != nil || !os.SameFile(part, disk) || t.remove(partPath(path)) != nil {
			return
		}
	case !errors.Is(err, fs.ErrNotExist):
		return
	}
	_ = t.journalOf(path).Drop()
}
