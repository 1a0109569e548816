package blocksink

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/sink"
	"github.com/cdictl/cdictl/lib/transfer"
)

const (
	deviceSize = 24 << 20
	childEnv   = "BLOCKSINK_TEST_CHILD"
)

func TestMain(m *testing.M) {
	if args := os.Getenv(childEnv); args != "" {
		child(strings.Split(args, " "))
	}
	os.Exit(m.Run())
}

// child imports the raw image args[1] to the device args[0], over and over, until it is killed.
func child(args []string) {
	err := func() error {
		img, err := os.ReadFile(args[1])
		if err != nil {
			return err
		}
		s, err := New(args[0], Options{Force: true}).Open(context.Background(), sink.Options{Size: int64(len(img))})
		if err != nil {
			return err
		}
		fmt.Println("open")
		for {
			for off := len(img); off > 0; {
				k := min(off, 100_000)
				off -= k
				if _, err := s.WriteAt(img[off:off+k], int64(off)); err != nil {
					return err
				}
			}
		}
	}()
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// image makes a raw disk that begins with a GPT and holds an ext4 in its partition, and has its backup at the end, by
// way of the device. It returns its path.
func image(t *testing.T, size int64, sector int) string {
	t.Helper()
	need(t, "mkfs.ext4", "wipefs", "blkid")
	path := filepath.Join(t.TempDir(), "image.raw")
	if err := os.WriteFile(path, gpt(size, int64(sector)), 0o600); err != nil {
		t.Fatal(err)
	}
	fs := filepath.Join(t.TempDir(), "fs")
	if err := errors.Join(os.WriteFile(fs, nil, 0o600), os.Truncate(fs, size/2)); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.ext4", "-q", "-F", fs)
	b, err := os.ReadFile(fs)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, heldBytes); err != nil {
		t.Fatal(err)
	}
	return path
}

// put copies the file onto the device, as dd does.
func put(t *testing.T, dev, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(dev, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, dev string, o Options, so sink.Options) sink.Sink {
	t.Helper()
	s, err := New(dev, o).Open(t.Context(), so)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// refused opens dev and wants an error of this class whose text has all of these words, and a device left alone.
func refused(t *testing.T, l loop, o Options, so sink.Options, want error, words ...string) {
	t.Helper()
	before, err := l.read()
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(l.dev, o).Open(t.Context(), so)
	if !errors.Is(err, want) || errdef.Hint(err) == "" {
		t.Errorf("Open: %v, want %v with a hint", err, want)
	}
	if err == nil {
		_ = s.Close()
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%v: does not name %s", err, w)
		}
	}
	after, err := l.read()
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the device was touched (%v)", err)
	}
}

// TestSparseImageOverOldData: a smaller sparse image on a device full of old data, by every way the bytes may come, is
// what qemu-img makes of it, and zeros.
func TestSparseImageOverOldData(t *testing.T) {
	need(t, "qemu-img")
	const size = 13<<20 + 512
	raw := image(t, size, 512)
	dir := t.TempDir()
	qcow := filepath.Join(dir, "image.qcow2")
	run(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow)
	run(t, "qemu-img", "convert", "-O", "raw", qcow, filepath.Join(dir, "oracle.raw"))
	want, err := os.ReadFile(filepath.Join(dir, "oracle.raw"))
	if err != nil {
		t.Fatal(err)
	}
	size512 := int64(len(want))
	want = append(want, make([]byte, deviceSize-len(want))...)
	for _, sector := range []int{512, 4096} {
		l := newLoop(t, memory(t), deviceSize, sector)
		for _, opened := range []int64{size512, -1} {
			t.Run(fmt.Sprintf("sector=%d/opened=%d", sector, opened), func(t *testing.T) {
				l.dirty(t)
				s := open(t, l.dev, Options{Force: true}, sink.Options{Size: opened})
				if _, _, err := transfer.Stream(t.Context(), s, bytes.NewReader(want[:size512]), transfer.StreamOptions{}, transfer.Options{}); err != nil {
					t.Fatal(err)
				}
				l.nothingFound(t)
				if err := s.Commit(t.Context(), size512); err != nil {
					t.Fatal(err)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
				got, err := l.read()
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("the device differs from qemu-img's disk and zeros (%v)", err)
				}
				if out := run(t, "blkid", "--probe", l.dev); sector == 512 && !strings.Contains(out, "PTTYPE=\"gpt\"") {
					t.Errorf("blkid does not find the table after Commit: %s", out)
				}
			})
		}
	}
}

// TestNothingIsFound on a device that held a GPT and an ext4, while another such disk is written and dropped.
func TestNothingIsFound(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		t.Run(fmt.Sprint(sector), func(t *testing.T) {
			raw := image(t, deviceSize, sector)
			l := newLoop(t, memory(t), deviceSize, sector)
			put(t, l.dev, raw)
			if out := run(t, "wipefs", "--no-act", l.dev); strings.Count(out, "gpt") != 2 {
				t.Fatalf("the old table and its backup are not found: %s", out)
			}
			refused(t, l, Options{}, sink.Options{Size: deviceSize}, errdef.ErrExists, "GPT")
			img, err := os.ReadFile(raw)
			if err != nil {
				t.Fatal(err)
			}
			for _, percent := range []int{0, 10, 50, 99, 100} {
				s := open(t, l.dev, Options{Force: true}, sink.Options{Size: deviceSize})
				if _, err := s.WriteAt(img[:len(img)*percent/100], 0); err != nil {
					t.Fatal(err)
				}
				l.nothingFound(t)
				if err := s.Close(); err != nil {
					t.Error(err)
				}
				l.nothingFound(t)
				put(t, l.dev, raw)
			}
		})
	}
}

// TestKilled kills a writer at random moments. Nothing is recognised then, and the next one does its work.
func TestKilled(t *testing.T) {
	raw := image(t, deviceSize, 512)
	l := newLoop(t, memory(t), deviceSize, 512)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	for range 12 {
		put(t, l.dev, raw)
		cmd := exec.CommandContext(t.Context(), exe)
		cmd.Env = append(os.Environ(), childEnv+"="+l.dev+" "+raw)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "open\n" {
			t.Fatalf("the writer says %q, %v", line, err)
		}
		time.Sleep(time.Duration(r.Int64N(int64(60 * time.Millisecond))))
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
		l.nothingFound(t)
	}
	img, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, l.dev, Options{}, sink.Options{Size: deviceSize}) // without force: nothing is there
	if _, err := s.WriteAt(img, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), deviceSize); err != nil {
		t.Fatal(err)
	}
	if got, err := l.read(); err != nil || !bytes.Equal(got, img) {
		t.Errorf("the device differs (%v)", err)
	}
}

func TestRefused(t *testing.T) {
	need(t, "mkfs.ext4", "mkswap", "wipefs")
	l := newLoop(t, memory(t), deviceSize, 512)
	t.Run("too small", func(t *testing.T) {
		refused(t, l, Options{Force: true}, sink.Options{Size: deviceSize + 1}, errdef.ErrTooSmall, fmt.Sprint(deviceSize), fmt.Sprint(deviceSize+1))
	})
	t.Run("resume", func(t *testing.T) {
		refused(t, l, Options{Force: true}, sink.Options{Size: 1, Mode: sink.Resume}, errdef.ErrUnsupported, "resumed")
	})
	t.Run("two writers", func(t *testing.T) {
		s := open(t, l.dev, Options{}, sink.Options{Size: 1})
		refused(t, l, Options{Force: true}, sink.Options{Size: 1}, errdef.ErrBusy, "another process")
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("locked", func(t *testing.T) { // by udev, or by someone as polite
		f, err := os.Open(l.dev)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := unix.Flock(int(f.Fd()), unix.LOCK_SH); err != nil {
			t.Fatal(err)
		}
		refused(t, l, Options{}, sink.Options{Size: 1}, errdef.ErrBusy, "another process")
	})
	t.Run("swap", func(t *testing.T) {
		run(t, "mkswap", l.dev)
		refused(t, l, Options{}, sink.Options{Size: 1}, errdef.ErrExists, "swap")
	})
	t.Run("mounted", func(t *testing.T) {
		run(t, "mkfs.ext4", "-q", "-F", l.dev)
		refused(t, l, Options{}, sink.Options{Size: 1}, errdef.ErrExists, "ext")
		dir := filepath.Join(t.TempDir(), "a folder")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		run(t, "mount", "-o", "ro,noload", l.dev, dir) // a mount that writes would touch the device, sooner or later
		defer run(t, "umount", dir)
		refused(t, l, Options{Force: true}, sink.Options{Size: 1}, errdef.ErrBusy, "mounted at "+dir)
	})
	for name, path := range map[string]string{"empty": "", "absent": l.dev + "x", "file": l.file, "char": "/dev/null"} {
		if _, err := New(path, Options{}).Open(t.Context(), sink.Options{Size: 1}); !errors.Is(err, errdef.ErrUsage) {
			t.Errorf("%s: %v, want ErrUsage", name, err)
		}
	}
	run(t, "wipefs", "--all", l.dev)
	// Not by blockdev --setro: that would outlive the loop device.
	dev := run(t, "losetup", "--find", "--show", "--read-only", l.file)
	defer run(t, "losetup", "--detach", dev)
	if _, err := New(dev, Options{}).Open(t.Context(), sink.Options{Size: 1}); err == nil || errdef.Hint(err) == "" {
		t.Errorf("read-only: %v, want an error with a hint", err)
	}
}

// TestStorage: what is zero is given back, unless Preallocate says otherwise.
func TestStorage(t *testing.T) {
	for _, preallocate := range []bool{false, true} {
		l := newLoop(t, t.TempDir(), deviceSize, 512)
		s := open(t, l.dev, Options{}, sink.Options{Size: deviceSize, Preallocate: preallocate})
		if err := s.Zero(4<<20, 8<<20); err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(t.Context(), deviceSize); err != nil {
			t.Fatal(err)
		}
		if got, err := l.read(); err != nil || !blankBytes(got) {
			t.Errorf("old data is there (%v)", err)
		}
		var st unix.Stat_t
		if err := unix.Stat(l.file, &st); err != nil {
			t.Fatal(err)
		}
		if n := st.Blocks * 512; preallocate && n < deviceSize || !preallocate && n > 4<<20 {
			t.Errorf("preallocate %v: the device takes %d bytes of storage", preallocate, n)
		}
	}
}

// TestZeroWays: each way of zeroing does.
func TestZeroWays(t *testing.T) {
	l := newLoop(t, memory(t), deviceSize, 4096)
	dev, err := New(l.dev, Options{}).claim(t.Context().Done())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dev.Close() }()
	for i, off := range []int64{0, 8 << 20, 16 << 20} {
		dev.noPunch.Store(i > 0)
		dev.noZero.Store(i > 1)
		if err := dev.Zero(off+4096, 5<<20, false); err != nil {
			t.Fatal(err)
		}
		b, err := l.read()
		if err != nil || !blankBytes(b[off+4096:][:5<<20]) || b[off+4095] != 0xa5 || b[off+4096+5<<20] != 0xa5 {
			t.Errorf("way %d zeroes something else (%v)", i, err)
		}
	}
}

// BenchmarkWrite writes a whole disk of 256 MiB to a loop device over a file in the temporary folder, durable at the end.
func BenchmarkWrite(b *testing.B) {
	const total = 256 << 20
	l := newLoop(b, b.TempDir(), total, 512)
	for _, size := range []int{64 << 10, 1 << 20, 4 << 20} {
		b.Run(fmt.Sprintf("write=%dK", size>>10), func(b *testing.B) {
			b.SetBytes(total)
			for b.Loop() {
				s, err := New(l.dev, Options{Force: true}).Open(b.Context(), sink.Options{Size: total})
				if err != nil {
					b.Fatal(err)
				}
				_, _, err = transfer.Stream(b.Context(), s, io.LimitReader(ones{}, total), transfer.StreamOptions{}, transfer.Options{Segment: int64(size)})
				if err := errors.Join(err, s.Commit(b.Context(), total), s.Close()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

type ones struct{}

func (ones) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 1
	}
	return len(p), nil
}
