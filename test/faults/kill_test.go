//go:build linux

package faults

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cdictl/cdictl/test/internal/images"
	"github.com/cdictl/cdictl/test/internal/proc"
	"github.com/cdictl/cdictl/test/internal/report"
	"github.com/cdictl/cdictl/test/internal/web"
)

var (
	kills    = flag.Int("kills", 20, "how often TestKill kills, over all ways")
	killSize = flag.Int64("killsize", 128, "MiB of the disk that TestKill imports")
	killRate = flag.Int64("killrate", 96, "MiB a second that its server sends")
)

// killed is one way for bytes to come, and what an import by it may fetch again.
type killed struct {
	name  string
	args  []string
	sum   bool
	make  func(t *testing.T, raw, qcow2, to string) error
	bound bool // 64 MiB a kill; without, there is nothing to go on from
}

var killedWays = []killed{
	{"raw", nil, false, func(_ *testing.T, raw, _, to string) error { return os.Link(raw, to) }, true},
	{"raw, checksum", nil, true, func(_ *testing.T, raw, _, to string) error { return os.Link(raw, to) }, true},
	{"qcow2", nil, false, func(_ *testing.T, _, qcow2, to string) error { return os.Link(qcow2, to) }, true},
	{"qcow2, checksum", nil, true, func(_ *testing.T, _, qcow2, to string) error { return os.Link(qcow2, to) }, true},
	{"raw.xz of blocks, checksum", nil, true, func(t *testing.T, raw, _, to string) error { return blocksOfXZ(t, raw, to, "--block-size=4MiB", "-T0") }, true},
	{"qcow2.xz of blocks, checksum", nil, true, func(t *testing.T, _, qcow2, to string) error {
		return blocksOfXZ(t, qcow2, to, "--block-size=4MiB", "-T0")
	}, true},
	{"raw.gz, checksum", nil, true, func(t *testing.T, raw, _, to string) error { return images.Compress(t.Context(), "gz", raw, to) }, true},
	{"raw.zst of frames, checksum", nil, true, func(t *testing.T, raw, _, to string) error { return framesOfZstd(t, raw, to, 4<<20) }, true},
	{"qcow2.xz of one block", nil, true, func(t *testing.T, _, qcow2, to string) error { return blocksOfXZ(t, qcow2, to, "-T1") }, false},
}

func blocksOfXZ(t *testing.T, from, to string, how ...string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	return images.Pipe(t.Context(), in, to, append([]string{"xz", "-0", "-c"}, how...)...)
}

// framesOfZstd packs each n bytes by themselves, as pzstd and seekable zstd do.
func framesOfZstd(t *testing.T, from, to string, n int64) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	for {
		var part bytes.Buffer
		if k, err := io.CopyN(&part, in, n); k == 0 {
			if err == io.EOF {
				return out.Close()
			}
			return err
		}
		frame := to + ".frame"
		if err := images.Pipe(t.Context(), &part, frame, "zstd", "-q", "-c"); err != nil {
			return err
		}
		b, err := os.ReadFile(frame)
		if err != nil {
			return err
		}
		if _, err := out.Write(b); err != nil {
			return err
		}
		if err := os.Remove(frame); err != nil {
			return err
		}
	}
}

// TestKill ends the real program with SIGKILL at random moments, runs the same command again until it is done, and wants
// the right disk, nothing beside it, and no more fetched than what a kill may cost. `-kills N` kills more often.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	proc.Need(t, "qemu-img", "xz", "zstd", "gzip")
	bin, dir := proc.TestBinary(t), t.TempDir()
	raw, qcow2 := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "disk.qcow2")
	size := *killSize << 20
	must(t, images.Raw(raw, size, size*9/10, 5))
	tool(t, "qemu-img", "convert", "-O", "qcow2", "-f", "raw", raw, qcow2)
	want := digest(t, raw)
	table := &report.Table{Title: "kill -9", Header: []string{"image", "kills", "resumed", "stored MiB", "fetched MiB", "bound MiB", "verdict"}}
	rng := rand.New(rand.NewPCG(9, uint64(*kills)))
	for i, w := range killedWays {
		n := *kills / len(killedWays)
		if i < *kills%len(killedWays) {
			n++
		}
		t.Run(w.name, func(t *testing.T) {
			served := t.TempDir()
			stored := filepath.Join(served, "disk")
			must(t, w.make(t, raw, qcow2, stored))
			st, err := os.Stat(stored)
			must(t, err)
			out := t.TempDir()
			args := []string{bin, "import", "", filepath.Join(out, "disk.img"), "-o", "json", "--progress", "none"}
			if w.sum {
				args = append(args, "--checksum", "sha256:"+digest(t, stored))
			}
			k := killer{t: t, rng: rng, args: args, want: want, stored: st.Size(), out: out}
			problem := k.run(served, n, w.bound)
			if problem != nil {
				t.Error(problem)
			}
			table.Row(w.name, fmt.Sprint(n), fmt.Sprint(k.resumed), mib(st.Size()), mib(k.fetched), mib(k.bound), verdict(problem))
			table.Count(w.name, problem)
		})
	}
	table.Print(os.Stdout)
}

func mib(n int64) string { return fmt.Sprint(n >> 20) }

func verdict(err error) string {
	if err != nil {
		return "FAIL"
	}
	return "ok"
}

type killer struct {
	t              *testing.T
	rng            *rand.Rand
	args           []string
	want, out      string
	stored         int64
	fetched, bound int64
	resumed        int
}

// run imports until n processes were killed and one has ended.
func (k *killer) run(served string, n int, bounded bool) error {
	srv := web.Start(k.t, web.Slow(web.Ranges(served), *killRate<<20))
	k.args[2] = srv.URL + "/disk"
	runs, done := 0, 0
	for n > 0 || done == 0 {
		runs++
		p, err := proc.Start(k.t.Context(), proc.Command{Args: k.args})
		if err != nil {
			return err
		}
		if n > 0 {
			// The moment is counted in bytes, so that it lies within the import however fast the machine is.
			// Most are late: what is lost by then without a journal is more than what may be fetched again.
			moment := k.rng.Int64N(k.stored)
			if k.rng.IntN(4) > 0 {
				moment = k.stored/3 + moment*2/3
			}
			after := srv.Sent.Load() + 1 + moment
			k.until(p, func() bool { return srv.Sent.Load() >= after })
			must(k.t, p.Signal(syscall.SIGKILL))
		}
		r, err := p.Wait()
		switch {
		case err != nil:
			return err
		case r.Signal:
			n--
			if exists(filepath.Join(k.out, "disk.img")) {
				return fmt.Errorf("run %d was killed, and the target is there", runs)
			}
			continue
		case r.Exit != 0:
			return fmt.Errorf("run %d: exit %d: %s", runs, r.Exit, r.Stderr)
		case strings.Contains(r.Stderr, "note: "):
			return fmt.Errorf("run %d: %s", runs, r.Stderr)
		}
		done++
		if err := k.finished(r.Stdout); err != nil {
			return fmt.Errorf("run %d: %w", runs, err)
		}
	}
	k.fetched = srv.Sent.Load()
	k.bound = int64(done)*k.stored*11/10 + int64(runs-done)*64<<20
	if bounded && k.fetched > k.bound {
		return fmt.Errorf("%d MiB were fetched, %d of an image of %d MiB were allowed", k.fetched>>20, k.bound>>20, k.stored>>20)
	}
	return nil
}

// finished looks at the disk and what the program said of it, and makes place for the next.
func (k *killer) finished(said string) error {
	var res struct{ Resumed bool }
	if err := json.Unmarshal([]byte(said), &res); err != nil {
		return err
	}
	if res.Resumed {
		k.resumed++
	}
	disk := filepath.Join(k.out, "disk.img")
	if got := digest(k.t, disk); got != k.want {
		return fmt.Errorf("another disk: %s, want %s", got, k.want)
	}
	must(k.t, os.Remove(disk))
	left, err := os.ReadDir(k.out)
	if err != nil || len(left) > 0 {
		return fmt.Errorf("left: %v, %w", left, err)
	}
	return nil
}

// until waits for due, or the end of the process.
func (k *killer) until(p *proc.Process, due func() bool) {
	for !due() {
		select {
		case <-p.Done():
			return
		case <-time.After(time.Millisecond):
		}
	}
}
