//go:build linux

package bounds

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/cdictl/cdictl/test/internal/images"
	"github.com/cdictl/cdictl/test/internal/proc"
	"github.com/cdictl/cdictl/test/internal/report"
	"github.com/cdictl/cdictl/test/internal/web"
)

// The rates in bytes a second, of packed content and other: of what takes no second there is nothing to tell.
const (
	rateSize   = 40 << 20
	ratePace   = 8 << 20
	ratePacked = 4 << 20
)

// TestRate holds --limit-rate to its word, by every way that bytes come in, and out to a file and a pipe.
func TestRate(t *testing.T) {
	proc.Need(t, "qemu-img", "gzip", "xz", "zstd")
	bin, dir := proc.TestBinary(t), scratch(t)
	raw := filepath.Join(dir, "disk.raw")
	must(t, images.Raw(raw, rateSize, rateSize, 2))
	want, err := images.SHA256(raw)
	must(t, err)
	tool(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, filepath.Join(dir, "disk.qcow2"))
	tool(t, "gzip", "-1", "-k", raw)
	tool(t, "xz", "-0", "-k", raw)
	tool(t, "zstd", "-q", "-1", "-k", filepath.Join(dir, "disk.qcow2"))
	ways := []rateWay{
		{"disk.raw", "file", false, ratePace}, {"disk.raw", "ranges", false, ratePace}, {"disk.raw", "plain", false, ratePace},
		{"disk.raw", "ranges", true, ratePace}, {"disk.qcow2", "file", false, ratePace}, {"disk.qcow2", "ranges", false, ratePace},
		{"disk.qcow2", "ranges", true, ratePace}, {"disk.raw.gz", "ranges", false, ratePacked}, {"disk.raw.gz", "file", true, ratePacked},
		{"disk.raw.gz", "plain", true, ratePacked}, {"disk.raw.xz", "ranges", true, ratePacked}, {"disk.qcow2.zst", "plain", false, ratePacked},
	}
	table := &report.Table{
		Title:  "--limit-rate; at most 10% faster, and not slower than a busy machine may be",
		Header: []string{"stored", "from", "to", "MiB/s wanted", "MiB fetched", "s without it", "s", "MiB/s"},
	}
	rows := make([][]string, len(ways))
	var wg sync.WaitGroup
	turns := make(chan struct{}, 4) // they sleep most of the time
	for i, w := range ways {
		out := filepath.Join(dir, fmt.Sprint(i))
		must(t, os.Mkdir(out, 0o700))
		r := rater{t: t, bin: bin, in: dir, out: out, want: want}
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			free, slow, err := r.both(t.Context(), w)
			to := map[bool]string{true: "stdout", false: "file"}[w.piped]
			rows[i] = []string{w.image, w.from, to, mib(w.rate), mib(slow.Fetched), fmt.Sprintf("%.2f", free.Seconds), fmt.Sprintf("%.2f", slow.Seconds),
				fmt.Sprintf("%.2f", float64(slow.Fetched)/slow.Seconds/(1<<20))}
			table.Count(w.image+", "+w.from+", "+to, err)
		})
	}
	wg.Wait()
	for _, row := range rows {
		table.Row(row...)
	}
	table.Print(os.Stdout)
	if table.Failed() > 0 {
		t.Fail()
	}
}

type rateWay struct {
	image, from string
	piped       bool
	rate        int64
}

// transferred is what an import tells of its work; of one to a pipe it is measured.
type transferred struct {
	Fetched int64   `json:"bytesFetched"`
	Seconds float64 `json:"seconds"`
}

type rater struct {
	t                  *testing.T
	bin, in, out, want string
}

// both imports without a limit and with it. What is too fast is so at once. For slowness a busy machine may be to blame, which
// has three turns, and then much time: that the limit itself loses none is shown by TestRateIsUsedUp in lib/limits.
func (r rater) both(ctx context.Context, w rateWay) (free, slow transferred, err error) {
	if free, err = r.once(ctx, w); err != nil {
		return free, slow, err
	}
	for turn := range 3 {
		if slow, err = r.once(ctx, w, "--limit-rate", fmt.Sprint(w.rate)); err != nil {
			return free, slow, err
		}
		exact := float64(slow.Fetched) / float64(w.rate)
		fastest, slowest := exact/1.1, exact*1.1+free.Seconds
		if turn == 2 {
			slowest = 2*exact + 10*free.Seconds + 60
		}
		if slow.Seconds >= fastest && slow.Seconds <= slowest {
			return free, slow, nil
		}
		err = fmt.Errorf("%.2f seconds, want %.2f to %.2f", slow.Seconds, fastest, slowest)
		if slow.Seconds < fastest {
			break
		}
	}
	return free, slow, err
}

// once imports, looks at the disk, and removes it.
func (r rater) once(ctx context.Context, w rateWay, args ...string) (res transferred, err error) {
	source, sent := filepath.Join(r.in, w.image), func() int64 { st, _ := os.Stat(filepath.Join(r.in, w.image)); return st.Size() }
	switch w.from {
	case "ranges":
		srv := web.Start(r.t, web.Ranges(r.in))
		source, sent = srv.URL+"/"+w.image, srv.Sent.Load
	case "plain":
		srv := web.Start(r.t, web.Plain(r.in))
		source, sent = srv.URL+"/"+w.image, srv.Sent.Load
	}
	if w.piped {
		sum := sha256.New()
		p, err := proc.Run(ctx, proc.Command{Args: append([]string{r.bin, "import", source, "-", "--progress", "none"}, args...), Stdout: sum})
		if err == nil && (p.Exit != 0 || fmt.Sprintf("%x", sum.Sum(nil)) != r.want) {
			err = fmt.Errorf("exit %d, digest %x: %s", p.Exit, sum.Sum(nil), p.Stderr)
		}
		return transferred{sent(), p.Wall.Seconds()}, err
	}
	target := filepath.Join(r.out, "disk.img")
	said, err := proc.Tool(ctx, append([]string{r.bin, "import", source, target, "-o", "json"}, args...)...)
	if err != nil {
		return res, err
	}
	if err := json.Unmarshal([]byte(said), &res); err != nil {
		return res, err
	}
	got, err := images.SHA256(target)
	if err == nil && got != r.want {
		err = fmt.Errorf("digest %s, want %s", got, r.want)
	}
	return res, errors.Join(err, os.Remove(target))
}
