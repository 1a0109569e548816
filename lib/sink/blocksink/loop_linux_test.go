package blocksink

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cdictl/cdictl/lib/sink/sinktest"
)

// need skips a test on a machine that lacks root or a tool; in CI, where CDICTL_REQUIRE_TOOLS is 1, it fails.
func need(t testing.TB, tools ...string) {
	t.Helper()
	lacking := func(what any) {
		if os.Getenv("CDICTL_REQUIRE_TOOLS") == "1" {
			t.Fatal(what)
		}
		t.Skip(what)
	}
	if os.Geteuid() != 0 {
		lacking("loop devices are root's")
	}
	for _, tool := range append(tools, "losetup") {
		if _, err := exec.LookPath(tool); err != nil {
			lacking(err)
		}
	}
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// loop is a loop device, over a file.
type loop struct {
	dev, file string
	size      int64
}

// memory is a folder for devices whose flushes should cost nothing; the usual temporary one where there is no tmpfs.
func memory(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "blocksink")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// newLoop makes a device in dir of size bytes with this sector size, full of 0xA5.
func newLoop(t testing.TB, dir string, size int64, sector int) loop {
	t.Helper()
	need(t)
	l := loop{file: filepath.Join(dir, "backing"), size: size}
	if err := os.WriteFile(l.file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(l.file, size); err != nil {
		t.Fatal(err)
	}
	l.dev = run(t, "losetup", "--find", "--show", "--sector-size", fmt.Sprint(sector), l.file)
	t.Cleanup(func() { run(t, "losetup", "--detach", l.dev) })
	run(t, "blockdev", "--setrw", l.dev) // a killed test may have left it read-only, and that stays with the device
	l.dirty(t)
	return l
}

// dirty fills the device with old data.
func (l loop) dirty(t testing.TB) {
	t.Helper()
	f, err := os.OpenFile(l.dev, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := bytes.Repeat([]byte{0xa5}, 1<<20)
	for {
		if _, err := f.Write(b); errors.Is(err, unix.ENOSPC) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

// read returns the whole device: into one buffer, as os.ReadFile finds no size at a device and grows its own.
func (l loop) read() ([]byte, error) {
	f, err := os.Open(l.dev)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, l.size)
	_, err = io.ReadFull(f, b)
	return b, err
}

// hidden says whether anything could be recognised on the device: its first and last MiB must be zeros, and the tools
// must agree where they are there.
func (l loop) hidden() error {
	b, err := l.read()
	if err != nil {
		return err
	}
	n := min(heldBytes, len(b))
	if !blankBytes(b[:n]) || !blankBytes(b[len(b)-n:]) {
		return errors.New("the first or last MiB of the device is not zero")
	}
	return nil
}

// nothingFound asks the tools that people use.
func (l loop) nothingFound(t testing.TB) {
	t.Helper()
	if out := run(t, "wipefs", "--no-act", l.dev); out != "" {
		t.Errorf("wipefs finds\n%s", out)
	}
	out, err := exec.Command("blkid", "--probe", l.dev).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 {
		t.Errorf("blkid: %v\n%s", err, out)
	}
	if err := l.hidden(); err != nil {
		t.Error(err)
	}
}

// loops keeps devices between the places of one test: to make one takes longer than most of what is done with it.
type loops struct {
	t            *testing.T
	size, sector int

	mu   sync.Mutex
	free []loop
}

func (ls *loops) place(t *testing.T) sinktest.Place {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	var l loop
	if n := len(ls.free); n > 0 {
		l, ls.free = ls.free[n-1], ls.free[:n-1]
		l.dirty(t)
	} else {
		l = newLoop(ls.t, memory(ls.t), int64(ls.size), ls.sector)
	}
	t.Cleanup(func() {
		ls.mu.Lock()
		defer ls.mu.Unlock()
		ls.free = append(ls.free, l)
	})
	return sinktest.Place{
		Target: New(l.dev, Options{}), Read: l.read, Fixed: true, Hidden: l.hidden,
		Allocated: func() (int64, error) {
			var st unix.Stat_t
			err := unix.Stat(l.file, &st)
			return st.Blocks * 512, err
		},
	}
}

func TestConformance(t *testing.T) {
	need(t)
	for _, sector := range []int{4096, 512} {
		if testing.Short() && sector == 512 {
			continue // any write is aligned to it
		}
		t.Run(fmt.Sprint(sector), func(t *testing.T) {
			ls := &loops{t: t, size: 9 << 20, sector: sector}
			sinktest.Run(t, sinktest.Factory{New: ls.place, Preallocate: true})
		})
	}
}
