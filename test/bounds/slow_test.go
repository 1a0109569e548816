//go:build linux

package bounds

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cdictl/cdictl/test/internal/fusefs"
	"github.com/cdictl/cdictl/test/internal/proc"
	"github.com/cdictl/cdictl/test/internal/report"
	"github.com/cdictl/cdictl/test/internal/web"
)

const (
	slowSize   = 4 << 30
	slowMemory = 128 << 20
	slowRate   = 128 << 20
	// slowDirty is what may wait for the device: two rounds of the pacer, and what the kernel makes of them.
	slowDirty = 64 << 20
)

// TestSlowTarget imports 4 GiB, a bit more than a third of it data, with 128 MiB for the process and its part of the page
// cache, onto ext4 on a device that takes 128 MiB a second. Whatever waits to be written counts: who writes as fast as the
// page cache takes it stalls there, or is killed.
func TestSlowTarget(t *testing.T) {
	proc.Need(t, "mkfs.ext4", "mount", "umount", "losetup")
	bin, dir, g := proc.TestBinary(t), scratch(t), newGroup(t, slowMemory)
	file := filepath.Join(dir, "slow.ext4")
	must(t, os.WriteFile(file, nil, 0o600))
	must(t, os.Truncate(file, slowSize+1<<30))
	tool(t, "mkfs.ext4", "-q", "-E", "nodiscard", file)
	slow, out := fusefs.Mount(t, dir, fusefs.Options{Rate: slowRate}), t.TempDir()
	tool(t, "mount", "-o", "loop,noinit_itable", filepath.Join(slow, "slow.ext4"), out)
	t.Cleanup(func() {
		// The test's own context is done by then.
		if _, err := proc.Tool(context.WithoutCancel(t.Context()), "umount", out); err != nil {
			t.Error(err)
		}
	})
	content := newSlow()
	srv := web.Start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Without a validator there is no journal, whose flushes would pace the writer too.
		http.ServeContent(w, r, "", time.Time{}, io.NewSectionReader(content, 0, slowSize))
	}))
	target := filepath.Join(out, "disk.img")
	u, problem := g.run(t.Context(), bin, "import", srv.URL+"/disk.raw", target, "--progress", "none")
	most, err1 := g.most()
	kills, err2 := g.killed()
	problem = errors.Join(problem, err1, err2)
	switch {
	case problem != nil:
	case kills != 0:
		problem = fmt.Errorf("the kernel ended %d processes for want of memory", kills)
	case g.maxDirty > slowDirty:
		problem = fmt.Errorf("%s MiB waited to be written, at most %s may", mib(g.maxDirty), mib(slowDirty))
	default:
		problem = content.compare(target)
	}
	table := &report.Table{
		Title:  fmt.Sprintf("%s MiB of memory, a device of %s MiB/s, a disk of %s MiB, of that data %s", mib(slowMemory), mib(slowRate), mib(slowSize), mib(slowSize*slowShare/16)),
		Header: []string{"s", "MiB peak of the process", "with page cache", "most dirty", "ended by the kernel"},
	}
	table.Row(fmt.Sprintf("%.1f", u.Wall.Seconds()), mib(u.PeakRSS), mib(most), mib(g.maxDirty), fmt.Sprint(kills))
	table.Count("slow target", problem)
	table.Print(os.Stdout)
	if problem != nil {
		t.Fail()
	}
}

// slowContent is a disk without a file: of 16 MiB 3 are one stretch of data, which a writer sends past the page cache where
// it can, and 3 are stretches too short for that.
type slowContent struct{ block []byte }

const (
	slowPage  = 4096
	slowShare = 6 // MiB of 16
)

func newSlow() *slowContent {
	c := &slowContent{make([]byte, 1<<20)}
	_, _ = rand.NewChaCha8([32]byte{7}).Read(c.block)
	return c
}

// page makes the page at off; false: it is zeros.
func (c *slowContent) page(p []byte, off int64) bool {
	switch at := off % (16 << 20); {
	case at >= 3<<20 && (at < 4<<20 || at >= 10<<20 || at>>18&1 == 1):
		clear(p)
		return false
	}
	copy(p, c.block[off%int64(len(c.block)):])
	binary.LittleEndian.PutUint64(p, uint64(off))
	return true
}

// ReadAt implements io.ReaderAt.
func (c *slowContent) ReadAt(p []byte, off int64) (int, error) {
	var one [slowPage]byte
	for n := 0; n < len(p); {
		at := off + int64(n)
		c.page(one[:], at-at%slowPage)
		n += copy(p[n:], one[at%slowPage:])
	}
	return len(p), nil
}

// compare reads the file at path.
func (c *slowContent) compare(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	got, want := make([]byte, 1<<20), make([]byte, 1<<20)
	for off := int64(0); off < slowSize; off += int64(len(got)) {
		if _, err := f.ReadAt(got, off); err != nil {
			return err
		}
		for i := 0; i < len(want); i += slowPage {
			c.page(want[i:i+slowPage], off+int64(i))
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("another disk, somewhere behind %d", off)
		}
	}
	if n, err := f.ReadAt(got, slowSize); n > 0 || !errors.Is(err, io.EOF) {
		return fmt.Errorf("%d bytes behind its end: %w", n, err)
	}
	return nil
}
