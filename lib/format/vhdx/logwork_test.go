package vhdx

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format/formattest"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/testimage"
	"github.com/cdictl/cdictl/lib/limits"
)

// TestLogWrites has a log that zeros the same MiB as often as a log of its length can. What a log writes costs no more
// than reading the log.
func TestLogWrites(t *testing.T) {
	v := testimage.CraftSmallVHDX(512, "")
	v.U64(items+8, 100<<30) // with a BAT of almost a MiB
	writes := make([]testimage.VHDXWrite, (1<<20-64)/32)
	for i := range writes {
		writes[i] = testimage.VHDXWrite{At: testimage.VHDXBAT, Zeros: 1 << 20}
	}
	v.Logged(v.LogEntry(0, writes...))
	took := time.Hour // the least of some tries: what a machine does beside takes time, and not each time
	for range 5 {
		start := time.Now()
		logWrites(t, v)
		took = min(took, time.Since(start))
		if took < 2*time.Second || testing.Short() {
			return
		}
	}
	t.Errorf("it takes %v", took) // 0.1 s; it was 5 s, and so for each further MiB of BAT
}

func logWrites(t *testing.T, v *testimage.VHDX) {
	t.Helper()
	img, err := Open(t.Context(), bytes.NewReader(v.B), int64(len(v.B)), limits.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if err := img.Close(); err != nil {
		t.Error(err)
	}
	if runs, err := formattest.Learn(NewLearner(limits.Limits{}), bytes.NewReader(v.B), int64(len(v.B))); err != nil || len(runs) > 0 {
		t.Errorf("%v, %v", runs, err)
	}
}

// TestApply compares what patches leave with what they do one after the other.
func TestApply(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 3))
	for range 300 {
		r := image.Range{Start: rnd.Int64N(80 * logSector), Length: 1 + rnd.Int64N(80*logSector)}
		b := bytes.Repeat([]byte{0xa5}, int(r.Length))
		want := bytes.Repeat([]byte{0xa5}, 200*logSector) // from 0
		var o overlay
		for i := range rnd.IntN(30) {
			p := patch{Range: image.Range{Start: rnd.Int64N(150) * logSector, Length: logSector * (1 + rnd.Int64N(40))}}
			if rnd.IntN(2) == 0 {
				p.Length, p.data = logSector, make([]byte, logSector)
				for k := range p.data {
					p.data[k] = byte(i + k)
				}
				copy(want[p.Start:], p.data)
			} else {
				clear(want[p.Start:p.End()])
			}
			o = append(o, p)
		}
		if got := o.apply(r, b); !bytes.Equal(got, want[r.Start:r.End()]) || b[0] != 0xa5 {
			t.Fatalf("%+v over %+v", o, r)
		}
	}
}

// TestLogOfZeros has a log whose writes alone would take more memory than metadata may.
func TestLogOfZeros(t *testing.T) {
	v := testimage.CraftSmallVHDX(512, "")
	writes := make([]testimage.VHDXWrite, 20_000)
	for i := range writes {
		writes[i] = testimage.VHDXWrite{At: 1 << 40, Zeros: 4096}
	}
	v.Logged(v.LogEntry(0, writes...))
	_, err := Open(t.Context(), bytes.NewReader(v.B), int64(len(v.B)), limits.Limits{Metadata: 2 << 20})
	if !errors.Is(err, errdef.ErrLimit) || !strings.Contains(err.Error(), "20000 writes") {
		t.Error(err)
	}
}

// TestLogEntriesOverEntries has a log of which every sector claims to begin an entry as long as the log.
func TestLogEntriesOverEntries(t *testing.T) {
	defer formattest.Frugal(t)()
	const at, n = 8 << 20, 12 << 20
	v := testimage.CraftSmallVHDX(512, "")
	e := v.LogEntry(0)
	binary.LittleEndian.PutUint32(e[8:], n)
	v.B = append(v.B, make([]byte, at-len(v.B))...)
	v.B = append(v.B, bytes.Repeat(e, n/4096)...)
	v.Headers(func(h int) { v.U32(h+68, n).U64(h+72, at); copy(v.B[h+48:], v.LogID[:]) })
	_, err := Open(t.Context(), bytes.NewReader(v.B), int64(len(v.B)), limits.Limits{})
	if !errors.Is(err, errdef.ErrCorrupt) || !strings.Contains(err.Error(), "entries over entries") {
		t.Error(err)
	}
}
