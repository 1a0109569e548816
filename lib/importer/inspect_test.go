package importer_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/importer"
	"github.com/cdictl/cdictl/lib/internal/testimage"
	"github.com/cdictl/cdictl/lib/internal/testserver"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/filesource"
)

// partitioned is a disk with an MBR and an ext2 in each of four partitions of 2 MiB, noise all over that can be compressed by
// a quarter.
func partitioned() []byte {
	b := make([]byte, 9<<20)
	_, _ = rand.NewChaCha8([32]byte{5}).Read(b)
	for i := range b {
		b[i] &= 0x3f
	}
	clear(b[:512])
	copy(b[510:], "\x55\xaa")
	for i := range 4 {
		e := b[446+16*i:]
		e[4] = 0x83
		binary.LittleEndian.PutUint32(e[8:], uint32(2048+4096*i))
		binary.LittleEndian.PutUint32(e[12:], 4096)
		super := b[1<<20+2<<20*i:][:2048]
		clear(super)
		copy(super[1024+56:], "\x53\xef")
		copy(super[1024+120:], "label")
	}
	return b
}

// imageOf makes an image of disk by qemu-img.
func imageOf(t *testing.T, disk []byte, args ...string) string {
	t.Helper()
	testimage.Require(t, "qemu-img")
	dir := t.TempDir()
	in, out := filepath.Join(dir, "raw"), filepath.Join(dir, "image")
	if err := os.WriteFile(in, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := testimage.Run(t.Context(), "qemu-img", append(append([]string{"convert", "-f", "raw"}, args...), in, out)...); err != nil {
		t.Fatal(err)
	}
	return out
}

func inspect(t *testing.T, s source.Source) importer.Info {
	t.Helper()
	info, err := importer.Inspect(t.Context(), s, importer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// contentOf is what was found, as JSON.
func contentOf(t *testing.T, info importer.Info) string {
	t.Helper()
	b, err := json.Marshal(info.Content)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestInspect wants the same of a disk in whatever image it is.
func TestInspect(t *testing.T) {
	disk := partitioned()
	want := contentOf(t, inspect(t, onDisk(t, disk)))
	if n := strings.Count(want, `"ext2","label":"label"`); n != 4 || strings.Contains(want, "problems") {
		t.Fatalf("%d filesystems: %s", n, want)
	}
	for name, args := range map[string][]string{
		"qcow2": {"-O", "qcow2"}, "qcow2 compressed": {"-c", "-O", "qcow2"}, "vdi": {"-O", "vdi"}, "vhdx": {"-O", "vhdx"},
		"vhd": {"-O", "vpc", "-o", "force_size=on"}, "fixed vhd": {"-O", "vpc", "-o", "subformat=fixed,force_size=on"},
		"vmdk": {"-O", "vmdk"}, "stream vmdk": {"-O", "vmdk", "-o", "subformat=streamOptimized"},
	} {
		t.Run(name, func(t *testing.T) {
			path := imageOf(t, disk, args...)
			if got := contentOf(t, inspect(t, filesource.New(path))); got != want {
				t.Errorf("in a file:\n%s\nwant\n%s", got, want)
			}
			src, f := onServer(t, read(t, path), testserver.Options{})
			if got := contentOf(t, inspect(t, src)); got != want {
				t.Errorf("on a server:\n%s\nwant\n%s", got, want)
			}
			if n := f.BytesSent(); n > 1200<<10 {
				t.Errorf("%d bytes were fetched", n)
			}
			if got := contentOf(t, inspect(t, onDisk(t, tarOf(t, "disk.img", string(read(t, path)))))); got != want {
				t.Errorf("in a tar:\n%s\nwant\n%s", got, want)
			}
		})
	}
	info, err := importer.Probe(t.Context(), onDisk(t, disk), importer.Options{})
	if err != nil || info.Content != nil {
		t.Errorf("Probe looked into the disk: %+v, %v", info.Content, err)
	}
}

// TestInspectFrugally wants no more than 1 MiB fetched beside the metadata, also where each read takes 2 MiB.
func TestInspectFrugally(t *testing.T) {
	src, f := onServer(t, read(t, imageOf(t, partitioned(), "-c", "-O", "qcow2", "-o", "cluster_size=2M")), testserver.Options{})
	got := contentOf(t, inspect(t, src))
	if n := f.BytesSent(); n > 1300<<10 || !strings.Contains(got, "would fetch more than 1048576 bytes") {
		t.Errorf("fetched %d bytes: %s", n, got)
	}
}

// TestInspectStreams wants what the start of a stream tells.
func TestInspectStreams(t *testing.T) {
	if testing.Short() {
		t.Skip("TestStreamConvert runs the same code")
	}
	disk := partitioned()
	for name, s := range map[string]source.Source{
		"gz": onDisk(t, gz(t, disk)), "pipe": filesource.FromReader("-", bytes.NewReader(disk)), "plain": plain(t, disk),
	} {
		info := inspect(t, s)
		if c := info.Content; c == nil || c.Table == nil || len(c.Table.Partitions) != 4 || !c.Partial || c.Problems != nil {
			t.Errorf("%s: %+v", name, c)
		}
	}
	if c := inspect(t, onDisk(t, gz(t, disk[:4096]))).Content; c == nil || c.Partial || len(c.Problems) != 4 { // partitions behind the end
		t.Errorf("short: %+v", c)
	}
	if info := inspect(t, onDisk(t, gz(t, read(t, imageOf(t, disk, "-O", "qcow2"))))); info.Content != nil {
		t.Errorf("qcow2 in a stream: %+v", info.Content)
	}
}

func plain(t *testing.T, b []byte) source.Source {
	t.Helper()
	s, _ := onServer(t, b, testserver.Options{NoRanges: true})
	return s
}

// TestInspectRefused is of images that cannot be opened: that is told elsewhere, or in the content.
func TestInspectRefused(t *testing.T) {
	disk := partitioned()
	base := imageOf(t, disk, "-O", "qcow2")
	over := filepath.Join(t.TempDir(), "over")
	if _, err := testimage.Run(t.Context(), "qemu-img", "create", "-f", "qcow2", "-b", base, "-F", "qcow2", over); err != nil {
		t.Fatal(err)
	}
	if info := inspect(t, filesource.New(over)); info.Content != nil || info.BackingFilename == "" {
		t.Errorf("overlay: %+v", info)
	}
	b := read(t, base)
	l1 := binary.BigEndian.Uint64(b[40:])
	binary.BigEndian.PutUint64(b[l1:], 1<<50)
	if got := contentOf(t, inspect(t, onDisk(t, b))); !strings.Contains(got, "unreadable: ") {
		t.Errorf("broken tables: %s", got)
	}
}

// TestVHDXInStreams wants the size of a VHDX whose metadata lie behind what is seen at first.
func TestVHDXInStreams(t *testing.T) {
	if testing.Short() {
		t.Skip("TestStreamConvert runs the same code")
	}
	b := read(t, imageOf(t, partitioned(), "-O", "vhdx"))
	for name, s := range map[string]source.Source{
		"gz": onDisk(t, gz(t, b)), "pipe": filesource.FromReader("-", bytes.NewReader(b)), "plain": plain(t, b),
		"tar": filesource.FromReader("-", bytes.NewReader(tarOf(t, "disk.vhdx", string(b)))),
	} {
		info, err := importer.Probe(t.Context(), s, importer.Options{})
		if err != nil || info.VirtualSizeUnknown || info.VirtualSize != 9<<20 || info.Format != "vhdx" {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
	}
	if _, err := importer.Probe(t.Context(), onDisk(t, gz(t, b[:1<<20])), importer.Options{}); err == nil {
		t.Error("cut before the metadata: no error")
	}
}
