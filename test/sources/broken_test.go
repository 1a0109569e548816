//go:build linux

package sources

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cdictl/cdictl/test/internal/proc"
	"github.com/cdictl/cdictl/test/internal/report"
	"github.com/cdictl/cdictl/test/internal/web"
)

// brokenSize is that of the image whose connections break: of each of ten drops less than a percent is fetched again.
const brokenSize = 24 << 20

// drops is how often the connection breaks.
const drops = 10

// TestDrops breaks the connection at ten random offsets of what is sent, for every network source.
func TestDrops(t *testing.T) {
	seed := rand.Uint64() //nolint:gosec // of a test, and printed
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	image := filepath.Join(t.TempDir(), "disk.raw")
	want := noise(t, image, brokenSize, 1)
	h := newHouse(t)
	bin := proc.TestBinary(t)
	table := &report.Table{Title: fmt.Sprintf("Ten drops in %d MiB (seed %d): at most 15%% is sent twice", brokenSize>>20, seed),
		Header: []string{"source", "drops at, MiB", "seconds", "sent twice", "verdict"}}
	all := h.networks(t, func(f *web.Front) {
		for range drops {
			f.Drops = append(f.Drops, 1+rng.Int64N(brokenSize-1))
		}
		slices.Sort(f.Drops)
	})
	t.Run("all", func(t *testing.T) { // returns when all of them have
		for _, n := range all {
			t.Run(n.name, func(t *testing.T) {
				t.Parallel()
				n.put(t, image)
				s := newStage(t, bin)
				r := s.run(s.command(n.source, n.env, append(n.args, "--retries", "30")...))
				_, err := s.whole(r, want)
				twice := n.front.Sent() - brokenSize
				switch {
				case err != nil:
				case n.front.Dropped() != drops:
					err = fmt.Errorf("%d drops of %d", n.front.Dropped(), drops)
				case twice > brokenSize*15/100:
					err = fmt.Errorf("%d bytes were sent twice", twice)
				case len(s.left()) != 1:
					err = fmt.Errorf("files are there: %q", s.left())
				}
				verdict := "ok"
				if err != nil {
					verdict = "FAIL"
					t.Error(err)
				}
				var at []string
				for _, d := range n.front.Drops {
					at = append(at, fmt.Sprintf("%.1f", float64(d)/(1<<20)))
				}
				table.Count(n.name, err)
				table.Row(n.name, strings.Join(at, " "), fmt.Sprintf("%.1f", r.Wall.Seconds()), fmt.Sprintf("%.1f%%", 100*float64(twice)/brokenSize), verdict)
			})
		}
	})
	table.Print(os.Stdout)
}

// TestReplaced puts another image of the same size in the place of the one that is being read, when 4 MiB of it have
// been sent, and breaks the connections that are open, for every network source.
func TestReplaced(t *testing.T) {
	dir := t.TempDir()
	old, other := filepath.Join(dir, "old"), filepath.Join(dir, "new")
	want := noise(t, old, brokenSize, 1)
	noise(t, other, brokenSize, 2)
	h := newHouse(t)
	bin := proc.TestBinary(t)
	table := &report.Table{Title: "The image is replaced while it is read", Header: []string{"source", "exit", "message", "verdict"}}
	// The first request behind the break waits until the other image is there.
	fronts := map[*web.Front]*atomic.Pointer[func()]{}
	all := h.networks(t, func(f *web.Front) {
		replace := &atomic.Pointer[func()]{}
		fronts[f] = replace
		for i := range int64(4) { // as many connections as there are, and each tries again with something new
			f.Drops = append(f.Drops, 4<<20+i<<17)
		}
		f.Before = func(_ http.ResponseWriter, _ *http.Request, sent int64) bool {
			if sent >= 4<<20 {
				if do := replace.Swap(nil); do != nil {
					(*do)()
				}
			}
			return false
		}
	})
	t.Run("all", func(t *testing.T) {
		for _, n := range all {
			t.Run(n.name, func(t *testing.T) {
				t.Parallel()
				n.put(t, old)
				replaced := make(chan struct{})
				replace := func() {
					defer close(replaced)
					n.put(t, other)
				}
				fronts[n.front].Store(&replace)
				s := newStage(t, bin)
				r := s.run(s.command(n.source, n.env, append(n.args, "--retries", "30")...))
				never := fronts[n.front].Swap(nil) != nil
				if !never {
					<-replaced // the other image may be seen before its server has said that it has it
				}
				var err error
				switch said := strings.TrimSpace(r.Stderr); {
				case never:
					err = fmt.Errorf("it was not replaced")
				case n.pinned: // a digest is in the name of what is read
					_, err = s.whole(r, want)
				case r.Exit != 17 || !strings.Contains(said, "changed while"):
					err = fmt.Errorf("exit %d: %s", r.Exit, said)
				case len(s.left()) != 0:
					err = fmt.Errorf("left: %q", s.left())
				}
				verdict, said := "ok", "imported as it was: a digest pins it"
				if err != nil {
					verdict = "FAIL"
					t.Error(err)
				}
				if r.Exit != 0 {
					said = lastLine(r.Stderr)
				}
				table.Count(n.name, err)
				table.Row(n.name, fmt.Sprint(r.Exit), said, verdict)
			})
		}
	})
	table.Print(os.Stdout)
}

// lastLine is what the error line says behind the name of the source.
func lastLine(stderr string) string {
	var found string
	for line := range strings.Lines(stderr) {
		if text, ok := strings.CutPrefix(line, "cdictl: "); ok {
			found = strings.TrimSpace(text)
		}
	}
	return found
}
