//go:build linux

package hostile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"github.com/cdictl/cdictl/test/internal/proc"
	"github.com/cdictl/cdictl/test/internal/report"
)

const (
	maxWall   = 2 * time.Second
	maxMemory = 128 << 20
	// On a busy machine little work takes long: then it is the work that is judged, which costs the more the more threads share a
	// core and its caches, and that it does not wait for ever.
	maxCPU  = 2 * maxWall
	maxBusy = 2 * time.Minute
)

// bed is where imports are tried: a folder for targets that must stay empty.
type bed struct {
	bin, dir, out string
	table         *report.Table
	// alone is held by who measures again because of a time that others may be to blame for; read-locked by all others.
	alone *sync.RWMutex
}

func newBed(t *testing.T, title string) *bed {
	t.Helper()
	b := &bed{bin: proc.TestBinary(t), dir: t.TempDir(), alone: new(sync.RWMutex), table: &report.Table{
		Title: title, Header: []string{"what lies", "by", "exit", "s", "MiB", "message"},
	}}
	b.out = filepath.Join(b.dir, "out")
	if err := os.Mkdir(b.out, 0o700); err != nil {
		t.Fatal(err)
	}
	return b
}

// each does n things on all cores, each on a bed like b, and puts their rows into b's table in order.
func (b *bed) each(n int, do func(b *bed, i int) error) error {
	tables, errs := make([]report.Table, n), make([]error, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range runtime.GOMAXPROCS(0) + 1 { // one more: they wait, too
		wg.Go(func() {
			mine := *b
			mine.dir = filepath.Join(b.dir, fmt.Sprint(w))
			mine.out = filepath.Join(mine.dir, "out")
			err := os.MkdirAll(mine.out, 0o700)
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				mine.table = &tables[i]
				if errs[i] = err; err == nil {
					errs[i] = do(&mine, i)
				}
			}
		})
	}
	wg.Wait()
	for i := range tables {
		b.table.Append(&tables[i])
	}
	return errors.Join(errs...)
}

// measure runs args. What takes too long beside others is run again without them.
func (b *bed) measure(ctx context.Context, args ...string) (proc.Usage, error) {
	b.alone.RLock()
	u, err := proc.Measure(ctx, args...)
	b.alone.RUnlock()
	for range 2 {
		if u.Wall <= maxWall {
			break
		}
		b.alone.Lock()
		again, e := proc.Measure(ctx, args...)
		b.alone.Unlock()
		if again.Wall < u.Wall {
			u, err = again, e
		}
	}
	return u, err
}

// end prints the table.
func (b *bed) end(t *testing.T) {
	b.table.Print(os.Stdout)
	if b.table.Failed() > 0 {
		t.Fail()
	}
}

// want is how an import must end.
type want struct {
	exits []int
	says  string // in the message
}

// try imports source to a new file, and holds how that ends against w.
func (b *bed) try(ctx context.Context, name, by, source string, w want, args ...string) {
	b.judge(ctx, name, by, source, w, append([]string{b.bin, "import", source, filepath.Join(b.out, "disk.img"), "--progress", "none"}, args...)...)
}

// tryPiped is try for what would write much: to a pipe that nobody keeps.
func (b *bed) tryPiped(ctx context.Context, name, by, source string, w want, args ...string) {
	b.judge(ctx, name, by, source, w, append([]string{"sh", "-c", `exec "$0" "$@" >/dev/null`, b.bin, "import", source, "-", "--progress", "none"}, args...)...)
}

func (b *bed) judge(ctx context.Context, name, by, source string, w want, args ...string) {
	u, err := b.measure(ctx, args...)
	if u.Exit == 0 && err != nil { // it could not be run
		b.table.Count(name, err)
		return
	}
	message, _, _ := strings.Cut(u.Messages, "\n")
	problem := errors.Join(b.message(u, message, source, w), b.left())
	if u.Wall > maxBusy || u.Wall > maxWall && u.CPU > maxCPU {
		problem = errors.Join(problem, fmt.Errorf("it took %s, and %s of a core", u.Wall.Round(time.Millisecond), u.CPU.Round(time.Millisecond)))
	}
	if u.PeakRSS > maxMemory {
		problem = errors.Join(problem, fmt.Errorf("it took %d bytes of memory", u.PeakRSS))
	}
	b.table.Row(name, by, fmt.Sprint(u.Exit), fmt.Sprintf("%.2f", u.Wall.Seconds()), fmt.Sprint(u.PeakRSS>>20), clip(strings.TrimPrefix(message, "cdictl: "), 150))
	b.table.Count(name+", "+by, problem)
}

// message looks at what was said: one line that names what is wrong, and a value.
func (b *bed) message(u proc.Usage, message, source string, w want) error {
	about := strings.ReplaceAll(message, source, "")
	switch {
	case !slices.Contains(w.exits, u.Exit):
		return fmt.Errorf("exit %d, want one of %d: %.300s", u.Exit, w.exits, message)
	case !strings.HasPrefix(message, "cdictl: "):
		return fmt.Errorf("message %.300q", u.Messages)
	case !strings.Contains(message, w.says):
		return fmt.Errorf("message does not say %q: %.300s", w.says, message)
	case u.Exit < 21 && !strings.ContainsFunc(about, unicode.IsDigit) && !strings.Contains(about, `"`):
		return fmt.Errorf("message names no value: %.300s", message)
	}
	return nil
}

// left finds what an import left, and removes it.
func (b *bed) left() error {
	entries, err := os.ReadDir(b.out)
	if err != nil {
		return err
	}
	var problem error
	for _, e := range entries {
		problem = errors.Join(problem, fmt.Errorf("left behind: %s", e.Name()), os.RemoveAll(filepath.Join(b.out, e.Name())))
	}
	return problem
}

func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// passed imports source to a pipe and returns how much came out of it.
func (b *bed) passed(ctx context.Context, source string, args ...string) (int64, string, error) {
	var n counter
	r, err := proc.Run(ctx, proc.Command{Args: append([]string{b.bin, "import", source, "-", "--progress", "none"}, args...), Stdout: &n})
	return int64(n), r.Stderr, err
}
