package qcow2

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/testimage"
)

// qemuInfo is what qemu-img info tells of an image.
type qemuInfo struct {
	VirtualSize   int64  `json:"virtual-size"`
	ClusterSize   int64  `json:"cluster-size"`
	Dirty         bool   `json:"dirty-flag"`
	BackingFile   string `json:"backing-filename"`
	BackingFormat string `json:"backing-filename-format"`
	Snapshots     []struct {
		ID, Name    string
		VMStateSize int64 `json:"vm-state-size"`
		DateSec     int64 `json:"date-sec"`
		DateNsec    int64 `json:"date-nsec"`
		Icount      int64
	}
	Specific struct {
		Data struct {
			Compat        string
			Compression   string `json:"compression-type"`
			LazyRefcounts bool   `json:"lazy-refcounts"`
			RefcountBits  int    `json:"refcount-bits"`
			Corrupt       bool
			ExtendedL2    bool   `json:"extended-l2"`
			DataFile      string `json:"data-file"`
			DataFileRaw   bool   `json:"data-file-raw"`
			Encrypt       struct{ Format string }
			Bitmaps       []any
		}
	} `json:"format-specific"`
}

func (q qemuInfo) info() Info {
	d := q.Specific.Data
	i := Info{
		Version: 3, Compat: d.Compat, VirtualSize: q.VirtualSize, ClusterSize: q.ClusterSize, CompressionType: d.Compression,
		LazyRefcounts: d.LazyRefcounts, RefcountBits: d.RefcountBits, Dirty: q.Dirty, Corrupt: d.Corrupt, ExtendedL2: d.ExtendedL2,
		Encryption: d.Encrypt.Format, BackingFile: q.BackingFile, BackingFormat: q.BackingFormat,
		ExternalData: d.DataFile != "", DataFile: d.DataFile, DataFileRaw: d.DataFileRaw, Bitmaps: len(d.Bitmaps), SnapshotCount: len(q.Snapshots),
	}
	if i.Compat == "0.10" {
		i.Version = 2
	}
	for _, s := range q.Snapshots {
		i.Snapshots = append(i.Snapshots, Snapshot{
			ID: s.ID, Name: s.Name, VMStateSize: s.VMStateSize, Date: time.Unix(s.DateSec, s.DateNsec).UTC(), Icount: s.Icount,
			VirtualSize: q.VirtualSize,
		})
	}
	return i
}

// TestDescribeOracle compares Describe with qemu-img info, also for images that Open refuses.
func TestDescribeOracle(t *testing.T) {
	testimage.Require(t, "qemu-img", "qemu-io")
	for _, c := range []testimage.Case{
		{Name: "v3", Options: "lazy_refcounts=on,refcount_bits=64"},
		{Name: "v2", Options: "compat=0.10"},
		{Name: "zstd", Options: "compression_type=zstd,cluster_size=512"},
		{Name: "extended", Options: "extended_l2=on,cluster_size=2M"},
		{Name: "aes", Options: "encrypt.format=aes,encrypt.key-secret=s"},
		{Name: "luks", Options: "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"},
		{Name: "data", Options: "data_file=data.raw"},
		{Name: "data-raw", Options: "data_file=data.raw,data_file_raw=on"},
		{Name: "snapshots", Life: [][]string{{"qemu-img", "snapshot", "-c", "a", "IMAGE"}, {"qemu-img", "snapshot", "-c", "β b", "IMAGE"}}},
		{Name: "bitmap", Life: [][]string{{"qemu-img", "bitmap", "--add", "IMAGE", "b0"}}},
	} {
		t.Run(c.Name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.qcow2")
			t.Chdir(filepath.Dir(path))
			args := []string{"create", "-q", "-f", "qcow2", "--object", "secret,id=s,data=abc"}
			if c.Options != "" {
				args = append(args, "-o", c.Options)
			}
			lines := append([][]string{append([]string{"qemu-img"}, append(args, "IMAGE", "1M")...)}, c.Life...)
			for _, l := range lines {
				for i := range l {
					if l[i] == testimage.ImagePath {
						l[i] = path
					}
				}
				if err := runPatiently(t.Context(), l[0], l[1:]...); err != nil {
					t.Fatal(err)
				}
			}
			out, err := testimage.Run(t.Context(), "qemu-img", "info", "--output=json", path)
			if err != nil {
				t.Fatal(err)
			}
			var want qemuInfo
			if err := json.Unmarshal(out, &want); err != nil {
				t.Fatal(err)
			}
			f, stored := openFile(t, path)
			got, err := Describe(t.Context(), f, stored, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want.info(), got); diff != "" {
				t.Errorf("qemu-img info has (-), Describe has (+):\n%s", diff)
			}
			refused := got.Encryption != "" || got.ExternalData
			if _, err := Open(t.Context(), f, stored, Options{}); errors.Is(err, errdef.ErrUnsupported) != refused {
				t.Errorf("open: %v", err)
			} else if refused && errdef.Hint(err) == "" {
				t.Error("no hint")
			}
		})
	}
}

// runPatiently runs a command again while it says that it could not measure its own CPU time: qemu-img times the key
// derivation of LUKS with the thread's user time, which counts whole ticks of the kernel and is now and then 0.
func runPatiently(ctx context.Context, name string, args ...string) error {
	var err error
	for range 100 {
		if _, err = testimage.Run(ctx, name, args...); err == nil || !strings.Contains(err.Error(), "accurate CPU usage") {
			return err
		}
	}
	return err
}

// TestDescribePrefix describes an image of which only the start is there.
func TestDescribePrefix(t *testing.T) {
	c, _ := craft(compressZlib)
	for _, tt := range []struct {
		n       int
		unknown bool
	}{{len(c), false}, {atSnaps + 64, false}, {atSnaps + 8, true}, {atSnaps, true}, {craftCluster, true}, {512, true}} {
		info, err := Describe(t.Context(), bytes.NewReader(c[:tt.n]), -1, Options{})
		if err != nil {
			t.Errorf("%d bytes: %v", tt.n, err)
			continue
		}
		if info.SnapshotsUnknown != tt.unknown || info.SnapshotCount != 1 || (len(info.Snapshots) == 0) != tt.unknown {
			t.Errorf("%d bytes: %+v", tt.n, info)
		}
	}
	if _, err := Describe(t.Context(), bytes.NewReader(c[:50]), -1, Options{}); err == nil {
		t.Error("50 bytes are no header")
	}
}

// TestDescribeReads shows that describing costs the header and the snapshot table.
func TestDescribeReads(t *testing.T) {
	c, _ := craft(compressZlib)
	big := append(c, make([]byte, 8<<20)...)
	count := &countingReader{r: bytes.NewReader(big)}
	if _, err := Describe(t.Context(), count, int64(len(big)), Options{}); err != nil {
		t.Fatal(err)
	}
	if count.n > 128<<10 {
		t.Errorf("%d bytes were read", count.n)
	}
}

func TestDescribeUnknown(t *testing.T) {
	c, _ := craft(compressZlib)
	c.U64(72, 1<<9|1<<40)
	info, err := Describe(t.Context(), bytes.NewReader(c), int64(len(c)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"bit 9", "bit 40"}, info.UnknownFeatures); diff != "" {
		t.Error(diff)
	}
}

func TestMatch(t *testing.T) {
	for head, want := range map[string]bool{
		"QFI\xfb\x00\x00\x00\x03": true, "QFI\xfb\x00\x00\x00\x02rest": true, "QFI\xfb\x00\x00\x00\x04": true,
		"QFI\xfb\x00\x00\x00\x01": false, "QFI\xfb\x00\x00\x00\x00": false, "QFI\xfb": false, "": false, "KDMV\x00\x00\x00\x03": false,
	} {
		if Match([]byte(head)) != want {
			t.Errorf("Match(%q) is %v", head, !want)
		}
	}
}

// countingReader counts the bytes that are read.
type countingReader struct {
	r io.ReaderAt
	n int64
}

func (c *countingReader) ReadAt(p []byte, off int64) (int, error) {
	c.n += int64(len(p))
	return c.r.ReadAt(p, off)
}
