//go:build linux

package faults

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cdictl/cdictl/test/internal/images"
	"github.com/cdictl/cdictl/test/internal/proc"
	"github.com/cdictl/cdictl/test/internal/web"
)

// slowly serves the inputs so that the file takes about the given time.
func (s *stage) slowly(path string, d time.Duration) (srv *web.Server, url string) {
	st, err := os.Stat(path)
	must(s.t, err)
	srv = web.Start(s.t, web.Slow(web.Ranges(s.in.dir), int64(float64(st.Size())/d.Seconds())))
	return srv, srv.URL + "/" + filepath.Base(path)
}

// half serves half of the file, and the rest when the gate is opened: until then no import of it comes to its end, however
// fast the machine is.
func (s *stage) half(path string) (*gate, string) {
	st, err := os.Stat(path)
	must(s.t, err)
	g := &gate{handler: web.Ranges(s.in.dir), left: st.Size() / 2, opened: make(chan struct{})}
	return g, web.Start(s.t, g).URL + "/" + filepath.Base(path)
}

// targetFaults are targets that are taken, and programs that were killed on the way.
var targetFaults = []fault{
	{"target exists", []int{19}, true, func(s *stage) proc.Result {
		must(s.t, os.WriteFile(s.target, []byte("mine"), 0o600))
		srv := web.Start(s.t, web.Ranges(s.in.dir))
		return s.importing(srv.URL + "/disk.qcow2")
	}},
	{"target folder missing", []int{2}, true, func(s *stage) proc.Result {
		s.target = filepath.Join(s.out, "no", "such", "disk.img")
		return s.importing(s.in.qcow2)
	}},
	{"two writers, one target", []int{18}, true, twoWriters},
	{"kill -9, then again, direct", []int{0}, false, func(s *stage) proc.Result { return killAndRepeat(s, s.in.qcow2) }},
	{"kill -9, then again, stream", []int{0}, false, func(s *stage) proc.Result { return killAndRepeat(s, s.in.rawGz) }},
	{"kill -9, then again, stream", []int{0}, false, func(s *stage) proc.Result { return killAndRepeat(s, s.in.qcow2Zst) }},
}

// twoWriters starts a second import to a target whose first one is at work; the first must not notice.
func twoWriters(s *stage) proc.Result {
	g, url := s.half(s.in.qcow2)
	first := s.start(s.t.Context(), s.command(url))
	s.atWork(first, g)
	second := s.importing(s.in.qcow2)
	g.open()
	r, err := first.Wait()
	must(s.t, err)
	if r.Exit != 0 {
		s.t.Errorf("the first writer: exit %d: %s", r.Exit, r.Stderr)
	} else if err := s.wholeTarget(s.in.disk); err != nil {
		s.t.Errorf("the first writer: %v", err)
	}
	return second
}

// atWork waits until the target's folder has something in it and all has come that the gate lets pass, and a little longer.
func (s *stage) atWork(p *proc.Process, g *gate) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); len(s.listing()) == 0 || !g.shut(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("no part appeared in %v", patience)
		}
		select {
		case <-p.Done():
			r, _ := p.Wait()
			s.t.Fatalf("ended before it began: exit %d: %s", r.Exit, r.Stderr)
		default:
		}
	}
	time.Sleep(500 * time.Millisecond)
}

// killAndRepeat kills an import where nothing can be cleaned up, and runs it again: the second one takes the stale
// part away and makes the whole disk.
func killAndRepeat(s *stage, path string) proc.Result {
	g, url := s.half(path)
	p := s.start(s.t.Context(), s.command(url))
	s.atWork(p, g)
	must(s.t, p.Signal(syscall.SIGKILL))
	if r, err := p.Wait(); err != nil || !r.Signal {
		s.t.Fatalf("not killed: %+v %v", r, err)
	}
	if exists(s.target) {
		s.t.Error("a killed import left a target")
	}
	srv := web.Start(s.t, web.Ranges(s.in.dir))
	r := s.importing(srv.URL + "/" + filepath.Base(path))
	if r.Exit != 0 {
		s.t.Errorf("the second run: exit %d: %s", r.Exit, r.Stderr)
	} else if err := s.wholeTarget(s.in.disk); err != nil {
		s.t.Errorf("the second run: %v", err)
	}
	s.summary = fmt.Sprintf("137, %d", r.Exit)
	return r
}

// diskFaults are filesystems without room: 64 MiB of ext4 on a loop device.
var diskFaults = []fault{
	{"ENOSPC, known size", []int{14}, true, func(s *stage) proc.Result {
		smallDisk(s)
		return s.importing(s.full("full.qcow2"))
	}},
	{"ENOSPC, --preallocate", []int{14}, true, func(s *stage) proc.Result {
		smallDisk(s)
		return s.importing(s.in.qcow2, "--preallocate")
	}},
	{"ENOSPC, raw.gz of unknown size", []int{14}, true, func(s *stage) proc.Result {
		smallDisk(s)
		return s.importing(s.full("full.raw.gz"))
	}},
	{"ENOSPC, stream", []int{14}, true, func(s *stage) proc.Result {
		smallDisk(s)
		srv := web.Start(s.t, web.Plain(filepath.Dir(s.full("full.qcow2.gz"))))
		return s.importing(srv.URL + "/full.qcow2.gz")
	}},
	{"ENOSPC, --scratch without room", []int{14}, true, func(s *stage) proc.Result {
		smallDisk(s)
		s.target = "-" // the disk comes in guest order, so the whole stream goes to the scratch
		c := s.command(s.full("full.qcow2.gz"), "--scratch", s.out)
		c.Stdout = io.Discard
		return s.run(c)
	}},
	{"ENOSPC, --scratch that cannot take the stream", []int{14}, true, func(s *stage) proc.Result {
		smallDisk(s)
		s.target = "-"
		dir := filepath.Dir(s.full("full.qcow2"))
		srv := web.Start(s.t, web.InOrder(dir)) // it tells the length
		r := s.importing(srv.URL+"/full.qcow2", "--scratch", s.out)
		if n := srv.Sent.Load(); n > 32<<20 {
			s.t.Errorf("%d bytes were fetched before it was refused", n)
		}
		return r
	}},
	{"ENOSPC, --scratch, tables behind the data", []int{14}, true, func(s *stage) proc.Result {
		smallDisk(s)
		s.target = filepath.Join(s.tmp, "disk.img")
		f, err := os.Open(s.full("late.qcow2"))
		must(s.t, err)
		defer f.Close()
		c := s.command("-", "--scratch", s.out)
		c.Stdin = struct{ io.Reader }{f} // a pipe, whose length nobody knows
		return s.run(c)
	}},
	{"sparse disk larger than the room, data fits", []int{0}, false, func(s *stage) proc.Result {
		smallDisk(s)
		r := s.importing(s.in.qcow2)
		if r.Exit == 14 { // refused by the virtual size: allowed to a cautious target, as long as it says so
			s.summary = "14"
			return r
		}
		if got := digest(s.t, s.target); got != s.in.disk {
			s.t.Errorf("digest %s, want %s", got, s.in.disk)
		}
		must(s.t, os.Remove(s.target))
		s.summary = fmt.Sprint(r.Exit)
		return r
	}},
}

// smallDisk makes a new filesystem of 64 MiB the target's folder.
func smallDisk(s *stage) {
	if os.Getuid() != 0 {
		proc.Lacking(s.t, "mounting a filesystem needs root")
	}
	proc.Need(s.t, "mkfs.ext4", "mount", "umount")
	file := s.path("small.ext4")
	must(s.t, os.WriteFile(file, nil, 0o600))
	must(s.t, os.Truncate(file, 64<<20))
	tool(s.t, "mkfs.ext4", "-q", file)
	dir := s.t.TempDir()
	tool(s.t, "mount", "-o", "loop", file, dir)
	s.t.Cleanup(func() {
		if _, err := proc.Tool(bare(s.t), "umount", dir); err != nil {
			s.t.Error(err)
		}
	})
	s.out, s.target = dir, filepath.Join(dir, "disk.img")
}

// full makes, once, a disk of 128 MiB with no hole in it, as name says.
func (s *stage) full(name string) string {
	dir := filepath.Join(s.in.dir, "full")
	path := filepath.Join(dir, name)
	if exists(path) {
		return path
	}
	must(s.t, os.MkdirAll(dir, 0o700))
	raw := filepath.Join(dir, "full.raw")
	if !exists(raw) {
		f, err := os.Create(raw)
		must(s.t, err)
		_, err = io.CopyN(f, images.NewContent(40), 128<<20)
		must(s.t, err)
		must(s.t, f.Close())
		tool(s.t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, filepath.Join(dir, "full.qcow2"))
	}
	if from, ok := map[string]string{"full.raw.gz": "full.raw", "full.qcow2.gz": "full.qcow2"}[name]; ok {
		must(s.t, images.Compress(s.t.Context(), "gz", filepath.Join(dir, from), path))
	}
	if name == "late.qcow2" {
		tool(s.t, "cp", filepath.Join(dir, "full.qcow2"), path)
		tool(s.t, "qemu-img", "resize", "-q", "-f", "qcow2", path, "+1G") // moves the L1 table to the end
	}
	return path
}
