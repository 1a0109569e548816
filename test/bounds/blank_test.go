//go:build linux

package bounds

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/cdictl/cdictl/test/internal/images"
	"github.com/cdictl/cdictl/test/internal/proc"
	"github.com/cdictl/cdictl/test/internal/report"
)

// unitSize is how many zeros are packed in one go.
const unitSize = 512 << 20

// TestBlank imports a blank disk through each codec with default limits. The compressed file is 512 MiB of zeros through
// the real tool, repeated: gzip members, xz and bzip2 streams and zstd frames may follow one another by their formats,
// and `xz` would take minutes for 100 GiB in one. A single stream is imported too.
func TestBlank(t *testing.T) {
	proc.Need(t, "gzip", "xz", "zstd", "bzip2")
	if blankSize <= 0 || blankSize%(1<<30) != 0 {
		t.Fatalf("-size %d is no multiple of 1 GiB", blankSize)
	}
	bin, dir := proc.TestBinary(t), scratch(t)
	table := &report.Table{
		Title:  "Blank disks with default limits",
		Header: []string{"disk", "codec", "stored bytes", "wall s", "CPU s", "MiB peak", "KiB allocated"},
	}
	for _, codec := range []string{"gz", "xz", "zst", "bz2"} {
		unit := filepath.Join(dir, "unit."+codec)
		must(t, images.CompressStream(t.Context(), codec, io.LimitReader(zeros{}, unitSize), unit))
		blank(t, table, bin, dir, unit, codec, 1)
		if n := int64(blankSize / unitSize); n > 1 {
			blank(t, table, bin, dir, unit, codec, n)
		}
	}
	table.Print(os.Stdout)
	if table.Failed() > 0 {
		t.Fail()
	}
}

// blank imports n copies of the unit.
func blank(t *testing.T, table *report.Table, bin, dir, unit, codec string, n int64) {
	t.Helper()
	one, err := os.ReadFile(unit)
	must(t, err)
	source := filepath.Join(dir, "blank.raw."+codec)
	f, err := os.Create(source)
	must(t, err)
	for range n {
		_, err = f.Write(one)
		must(t, err)
	}
	must(t, f.Close())
	target := filepath.Join(dir, "blank.raw")
	defer os.Remove(target)
	u, problem := proc.Measure(t.Context(), bin, "import", source, target, "--progress", "none")
	allocated := int64(-1)
	if problem == nil {
		var st os.FileInfo
		st, problem = os.Stat(target)
		if problem == nil {
			allocated = blocks(st) * 512
			problem = checkBlank(st.Size(), n*unitSize, allocated, u.PeakRSS)
		}
	}
	disk := fmt.Sprintf("%g GiB", float64(n*unitSize)/(1<<30))
	table.Row(disk, codec, fmt.Sprint(n*int64(len(one))), fmt.Sprintf("%.1f", u.Wall.Seconds()),
		fmt.Sprintf("%.1f", u.CPU.Seconds()), mib(u.PeakRSS), fmt.Sprint(allocated>>10))
	table.Count(disk+" ."+codec, problem)
}

func checkBlank(got, want, allocated, peak int64) error {
	switch {
	case got != want:
		return fmt.Errorf("disk of %d bytes, want %d", got, want)
	case allocated > 1<<20:
		return fmt.Errorf("%d bytes allocated for a blank disk", allocated)
	case peak > peakBound:
		return fmt.Errorf("peak memory %s MiB, at most %s", mib(peak), mib(peakBound))
	}
	return nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
