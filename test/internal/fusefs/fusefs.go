//go:build linux

package fusefs

import (
	"context"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/cdictl/cdictl/test/internal/proc"
)

// Options of Mount.
type Options struct {
	// Rate is how many bytes a second are written; 0: as fast as they come.
	Rate int64
	// Poor is without locks, O_DIRECT, fallocate, SEEK_DATA and flags of rename, as network file systems may be.
	Poor bool
}

// Mount serves the folder below under another name, until the test ends. Who has to keep files open longer registers the
// end of that with t.Cleanup after it.
func Mount(t testing.TB, below string, o Options) string {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		proc.Lacking(t, "no /dev/fuse")
	}
	proc.Need(t, "fusermount3")
	var st syscall.Stat_t
	if err := syscall.Stat(below, &st); err != nil {
		t.Fatal(err)
	}
	d := &disk{o: o}
	root := &fs.LoopbackRoot{Path: below, Dev: st.Dev}
	top := &node{&fs.LoopbackNode{RootData: root}, d}
	root.RootNode = top
	dir := t.TempDir()
	srv, err := fs.Mount(dir, top, &fs.Options{MountOptions: fuse.MountOptions{
		FsName: "cdictl-test", Name: "cdictl-test", MaxWrite: 1 << 20, EnableLocks: o.Poor,
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := srv.Unmount()
		for range 600 { // who used it may not be quite gone
			if err == nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
			err = srv.Unmount()
		}
		t.Errorf("unmount %s: %v", dir, err)
	})
	return dir
}

// disk is what all files share.
type disk struct {
	o   Options
	mu  sync.Mutex
	due time.Time // when what was written so far will be through
}

// pass waits for the turn of n bytes.
func (d *disk) pass(n int) {
	if d.o.Rate <= 0 {
		return
	}
	d.mu.Lock()
	if now := time.Now(); d.due.Before(now) {
		d.due = now
	}
	d.due = d.due.Add(time.Duration(n) * time.Second / time.Duration(d.o.Rate))
	due := d.due
	d.mu.Unlock()
	time.Sleep(time.Until(due))
}

type node struct {
	*fs.LoopbackNode
	d *disk
}

// WrapChild implements fs.NodeWrapChilder.
func (n *node) WrapChild(_ context.Context, ops fs.InodeEmbedder) fs.InodeEmbedder {
	return &node{ops.(*fs.LoopbackNode), n.d}
}

// refused are flags of open that are not for this file system.
func (d *disk) refused(flags uint32) bool { return d.o.Poor && flags&unix.O_DIRECT != 0 }

// Open implements fs.NodeOpener.
func (n *node) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if n.d.refused(flags) {
		return nil, 0, syscall.EINVAL
	}
	fh, how, errno := n.LoopbackNode.Open(ctx, flags&^unix.O_DIRECT)
	return n.d.wrap(fh, errno), how, errno
}

// Create implements fs.NodeCreater.
func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	if n.d.refused(flags) {
		return nil, nil, 0, syscall.EINVAL
	}
	inode, fh, how, errno := n.LoopbackNode.Create(ctx, name, flags&^unix.O_DIRECT, mode, out)
	return inode, n.d.wrap(fh, errno), how, errno
}

// Rename implements fs.NodeRenamer.
func (n *node) Rename(ctx context.Context, name string, parent fs.InodeEmbedder, to string, flags uint32) syscall.Errno {
	if n.d.o.Poor && flags != 0 {
		return syscall.EINVAL
	}
	if p, ok := parent.(*node); ok {
		parent = p.LoopbackNode
	}
	return n.LoopbackNode.Rename(ctx, name, parent, to, flags)
}

// handle is what a file of the folder can. That it could be read and written past this process is left out.
type handle interface {
	fs.FileReader
	fs.FileWriter
	fs.FileReleaser
	fs.FileGetattrer
	fs.FileSetattrer
	fs.FileFlusher
	fs.FileFsyncer
	fs.FileAllocater
	fs.FileLseeker
	fs.FileSetlker
	fs.FileSetlkwer
}

func (d *disk) wrap(fh fs.FileHandle, errno syscall.Errno) fs.FileHandle {
	if errno != fs.OK {
		return nil
	}
	return &file{fh.(handle), d}
}

type file struct {
	handle
	d *disk
}

// Write implements fs.FileWriter.
func (f *file) Write(ctx context.Context, p []byte, off int64) (uint32, syscall.Errno) {
	f.d.pass(len(p))
	return f.handle.Write(ctx, p, off)
}

// Allocate implements fs.FileAllocater.
func (f *file) Allocate(ctx context.Context, off, n uint64, mode uint32) syscall.Errno {
	if f.d.o.Poor {
		return syscall.EOPNOTSUPP
	}
	return f.handle.Allocate(ctx, off, n, mode)
}

// Lseek implements fs.FileLseeker.
func (f *file) Lseek(ctx context.Context, off uint64, whence uint32) (uint64, syscall.Errno) {
	if f.d.o.Poor {
		return 0, syscall.EINVAL
	}
	return f.handle.Lseek(ctx, off, whence)
}

// Setlk implements fs.FileSetlker; flock comes here too.
func (f *file) Setlk(ctx context.Context, owner uint64, lk *fuse.FileLock, flags uint32) syscall.Errno {
	if f.d.o.Poor {
		return syscall.ENOLCK
	}
	return f.handle.Setlk(ctx, owner, lk, flags)
}

// Setlkw implements fs.FileSetlkwer.
func (f *file) Setlkw(ctx context.Context, owner uint64, lk *fuse.FileLock, flags uint32) syscall.Errno {
	if f.d.o.Poor {
		return syscall.ENOLCK
	}
	return f.handle.Setlkw(ctx, owner, lk, flags)
}
