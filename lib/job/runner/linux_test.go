package runner_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cdictl/cdictl/lib/importer"
	"github.com/cdictl/cdictl/lib/internal/testserver"
	"github.com/cdictl/cdictl/lib/job"
	"github.com/cdictl/cdictl/lib/job/runner"
	"github.com/cdictl/cdictl/lib/progress"
)

// need skips a test on a machine that lacks root or a tool; in CI, where CDICTL_REQUIRE_TOOLS is 1, it fails.
func need(t *testing.T, tools ...string) {
	t.Helper()
	lacking := func(what any) {
		if os.Getenv("CDICTL_REQUIRE_TOOLS") == "1" {
			t.Fatal(what)
		}
		t.Skip(what)
	}
	if os.Geteuid() != 0 {
		lacking("devices and mounts are root's")
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			lacking(err)
		}
	}
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// device is a loop device of size bytes, full of old data.
func device(t *testing.T, size int64) string {
	t.Helper()
	need(t, "losetup")
	file := filepath.Join(t.TempDir(), "device")
	if err := os.WriteFile(file, bytes.Repeat([]byte{0xa5}, int(size)), 0o600); err != nil {
		t.Fatal(err)
	}
	dev := command(t, "losetup", "--find", "--show", file)
	t.Cleanup(func() { command(t, "losetup", "--detach", dev) })
	return dev
}

// filesystem is an empty ext4 of size bytes.
func filesystem(t *testing.T, size int64) string {
	t.Helper()
	need(t, "losetup", "mkfs.ext4", "mount", "umount")
	dir := t.TempDir()
	file, at := filepath.Join(dir, "fs"), filepath.Join(dir, "at")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	command(t, "mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", file)
	if err := os.Mkdir(at, 0o700); err != nil {
		t.Fatal(err)
	}
	command(t, "mount", "-o", "loop", file, at)
	t.Cleanup(func() { command(t, "umount", at) })
	return at
}

func read(t *testing.T, dev string, n int64) []byte {
	t.Helper()
	f, err := os.Open(dev)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, n+1))
	if err != nil || int64(len(b)) != n {
		t.Fatalf("%d bytes of %s, want %d: %v", len(b), dev, n, err)
	}
	return b
}

func TestDevice(t *testing.T) {
	disk := content(5 * mib)
	dev := device(t, 16*mib)
	url := testserver.Start(t, testserver.NewFile(qcow2(t, disk), testserver.Options{}))
	track := new(progress.Tracker)
	spec := job.Spec{Version: job.Version, Source: http(url), Target: job.Target{Device: dev, Size: 16 * mib}}
	got := runner.Run(t.Context(), spec, runner.Options{Tracker: track, HTTP: quick})
	if got.Outcome != job.Succeeded || got.VirtualSize != 16*mib {
		t.Fatalf("%+v", got)
	}
	b := read(t, dev, 16*mib)
	if !bytes.Equal(b[:5*mib], disk) {
		t.Error("the disk is another")
	}
	if len(bytes.Trim(b[5*mib:], "\x00")) != 0 {
		t.Error("old data is behind the disk")
	}
	if s := track.Snapshot(); s.Virtual != s.Total || s.Total != 16*mib {
		t.Errorf("%+v", s)
	}

	// An image that is larger is refused before the device is touched.
	spec.Source = http(testserver.Start(t, testserver.NewFile(qcow2(t, content(17*mib)), testserver.Options{})))
	got = runner.Run(t.Context(), spec, runner.Options{HTTP: quick})
	if got.Outcome != job.Failed || got.Reason != "TargetTooSmall" || got.RequiredSize != 17*mib || !strings.Contains(got.Hint, "17Mi") {
		t.Errorf("%+v", got)
	}
	if !bytes.Equal(read(t, dev, 16*mib), b) {
		t.Error("the device was touched")
	}

	// What is recognised on it is overwritten only where the order says so.
	command(t, "mkfs.ext4", "-q", "-F", dev)
	spec.Source = http(url)
	if got = runner.Run(t.Context(), spec, runner.Options{HTTP: quick}); got.Reason != "TargetExists" || got.Outcome != job.Failed {
		t.Errorf("%+v", got)
	}
	spec.Target.Replace = true
	if got = runner.Run(t.Context(), spec, runner.Options{HTTP: quick}); got.Outcome != job.Succeeded {
		t.Errorf("%+v", got)
	}
	if !bytes.Equal(read(t, dev, 16*mib), b) {
		t.Error("the disk is another")
	}
}

func TestBlankDevice(t *testing.T) {
	for _, preallocate := range []bool{false, true} {
		t.Run(fmt.Sprintf("preallocate=%v", preallocate), func(t *testing.T) {
			dev := device(t, 8*mib)
			got := run(t, job.Spec{Source: job.Source{Blank: &job.Blank{}}, Target: job.Target{Device: dev, Replace: true}, Preallocate: preallocate})
			if got.Outcome != job.Succeeded || got.VirtualSize != 8*mib || got.Format != "blank" || got.Preallocated != preallocate {
				t.Errorf("%+v", got)
			}
			if len(bytes.Trim(read(t, dev, 8*mib), "\x00")) != 0 {
				t.Error("old data shines through")
			}
		})
	}
}

// TestGoesOn: a worker that was stopped half-way is gone on with, to a file and to a device, and nothing is left then.
func TestGoesOn(t *testing.T) {
	disk := content(24 * mib)
	for _, block := range []bool{false, true} {
		t.Run(fmt.Sprintf("block=%v", block), func(t *testing.T) {
			g := testserver.NewGate(testserver.NewFile(disk, testserver.Options{}), 18*mib, 23*mib)
			url := testserver.Start(t, g)
			at, state := "", t.TempDir()
			spec := job.Spec{Version: job.Version, UID: "a", Source: http(url), StateDir: state}
			if block {
				spec.Target = job.Target{Device: device(t, 32*mib), Size: 32 * mib, Replace: true}
			} else {
				at = filesystem(t, 64*mib) // so little that its own tables count
				spec.Target = job.Target{File: filepath.Join(at, "disk.img"), Size: 64 * mib, Overhead: "0.055", Replace: true}
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			track := new(progress.Tracker)
			go func() {
				for track.Snapshot().Virtual < 12*mib && ctx.Err() == nil {
					time.Sleep(time.Millisecond)
				}
				cancel()
			}()
			got := runner.Run(ctx, spec, runner.Options{Tracker: track, Grace: time.Hour})
			g.Reopen()
			if got.Outcome != job.Retry || got.Reason != "Canceled" {
				t.Fatalf("%+v", got)
			}
			if !block {
				holds(t, at, ".disk.img.cdictl.journal", ".disk.img.cdictl.part", "lost+found")
			}
			got = runner.Run(t.Context(), spec, runner.Options{HTTP: quick, OnNotice: func(text string) { t.Error(text) }})
			if got.Outcome != job.Succeeded || got.Kept < 4*mib || got.Fetched > 25*mib-got.Kept || got.Tries != 2 {
				t.Errorf("%+v", got)
			}
			if block {
				if !bytes.Equal(read(t, spec.Target.Device, 32*mib), append(bytes.Clone(disk), make([]byte, 8*mib)...)) {
					t.Error("another disk")
				}
			} else {
				holds(t, at, "disk.img", "lost+found")
				isDisk(t, spec.Target.File, disk, got.VirtualSize)
			}
			holds(t, state, "tries.json")
		})
	}
}

func TestNoDevice(t *testing.T) {
	for _, path := range []string{"/dev/none", "/dev/null", t.TempDir()} {
		got := run(t, job.Spec{Source: job.Source{Blank: &job.Blank{}}, Target: job.Target{Device: path}})
		if got.Outcome != job.Failed || got.Reason != "InvalidSpec" || !strings.Contains(got.Message, "open target "+path) {
			t.Errorf("%+v", got)
		}
	}
}

// A filesystem as small as this keeps a part for itself; what is left decides, whatever was asked for.
func TestSmallFilesystem(t *testing.T) {
	at := filesystem(t, 64*mib)
	path := filepath.Join(at, "disk.img")
	spec := job.Spec{Source: job.Source{Blank: &job.Blank{}}, Target: job.Target{File: path, Size: 64 * mib, Overhead: "0.055", Replace: true}}
	got := run(t, spec)
	fi, err := os.Stat(path)
	if err != nil || got.Outcome != job.Succeeded || fi.Size() != got.VirtualSize || fi.Size()%mib != 0 || fi.Size() < 50*mib || fi.Size() > 61*mib {
		t.Fatalf("%+v; %v", got, err)
	}
	holds(t, at, "disk.img", "lost+found")

	// Leftovers fill it: a disk, and a part of a killed worker. They go before room is measured.
	for _, name := range []string{"disk.img", ".disk.img.cdictl.part"} {
		if err := os.WriteFile(filepath.Join(at, name), content(25*mib), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	again := run(t, spec)
	if again.VirtualSize != got.VirtualSize {
		t.Errorf("%d bytes after leftovers, %d before", again.VirtualSize, got.VirtualSize)
	}
	holds(t, at, "disk.img", "lost+found")

	// An image that is as large as the claim, and not as what the filesystem has.
	spec.Source = http(testserver.Start(t, testserver.NewFile(qcow2(t, make([]byte, 64*mib)), testserver.Options{})))
	got = run(t, spec)
	if got.Outcome != job.Failed || got.Reason != "TargetTooSmall" || got.RequiredSize < 68*mib || got.RequiredSize > 80*mib {
		t.Errorf("%+v", got)
	}
	holds(t, at, "lost+found")
}

// The filesystem fills up in the middle: somebody else has written meanwhile.
func TestFull(t *testing.T) {
	at := filesystem(t, 32*mib)
	f := testserver.NewFile(content(24*mib), testserver.Options{NoRanges: true})
	spec := job.Spec{Version: job.Version, Source: http(testserver.Start(t, f)), Target: job.Target{File: filepath.Join(at, "disk.img"), Size: 28 * mib, Replace: true}}
	other := filepath.Join(at, "other")
	got := runner.Run(t.Context(), spec, runner.Options{HTTP: quick, OnPlan: func(importer.Explanation) {
		if err := os.WriteFile(other, make([]byte, 16*mib), 0o600); err != nil {
			t.Error(err)
		}
	}})
	if got.Outcome != job.Failed || got.Reason != "TargetTooSmall" || !strings.Contains(got.Message, "no space left") || got.Hint == "" {
		t.Errorf("%+v", got)
	}
	holds(t, at, "lost+found", "other")
	// The next try finds room again.
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	if got := run(t, spec); got.Outcome != job.Succeeded {
		t.Errorf("%+v", got)
	}
	holds(t, at, "disk.img", "lost+found")
}

// Root gives the disk away; anybody else cannot, and says so.
func TestOwner(t *testing.T) {
	need(t)
	id := 107
	dir := t.TempDir()
	path := filepath.Join(dir, "disk.img")
	spec := job.Spec{Source: job.Source{Blank: &job.Blank{}}, Target: job.Target{File: path, Size: mib, Mode: "0660", UID: &id, GID: &id, Replace: true}}
	got := run(t, spec)
	if got.Outcome != job.Succeeded || got.Message != "" {
		t.Errorf("%+v", got)
	}
	if diff := cmp.Diff("660 107:107", command(t, "stat", "-c", "%a %u:%g", path)); diff != "" {
		t.Error(diff)
	}
}
