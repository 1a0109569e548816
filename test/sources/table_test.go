//go:build linux

package sources

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/test/internal/images"
	"github.com/cdictl/cdictl/test/internal/proc"
	"github.com/cdictl/cdictl/test/internal/report"
	"github.com/cdictl/cdictl/test/internal/web"
)

// diskSize is small, because there are a hundred imports. Six in sixteen MiB are data.
const diskSize, diskData = 16 << 20, 6 << 20

// TestTable imports the disk from every source in every form.
func TestTable(t *testing.T) {
	kinds, want := disk(t, t.TempDir(), diskSize, diskData)
	h := newHouse(t)
	bin := proc.TestBinary(t)
	table := &report.Table{Title: "Every source, every form: digests are those of qemu-img's raw disk",
		Header: []string{"source", "form", "route", "seconds", "stored", "fetched", "spooled", "verdict"}}
	defer table.Print(os.Stdout)
	ran := map[string]bool{} // sources; -run may name some
	cell := func(source string, k stored, check func(r proc.Result, s *stage, a answer) error, start func(s *stage) proc.Command) {
		t.Run(source+"/"+k.name, func(t *testing.T) {
			ran[source] = true
			s := newStage(t, bin)
			r := s.run(start(s))
			a, err := s.whole(r, want)
			if err == nil && a.BytesSpooled != 0 {
				err = fmt.Errorf("%d bytes were spooled", a.BytesSpooled)
			}
			if err == nil && a.Passes > 1 {
				err = fmt.Errorf("%d passes", a.Passes)
			}
			if left := s.left(); err == nil && len(left) != 1 {
				err = fmt.Errorf("files are there: %q", left)
			}
			if err == nil && check != nil {
				err = check(r, s, a)
			}
			verdict := "ok"
			if err != nil {
				verdict = "FAIL"
				t.Error(err)
			}
			table.Count(source+" "+k.name, err)
			table.Row(source, k.name, a.Route, fmt.Sprintf("%.2f", r.Wall.Seconds()), kib(size(k.path)), kib(a.BytesFetched), kib(a.BytesSpooled), verdict)
		})
	}

	for _, n := range h.networks(t, func(*web.Front) {}) {
		for _, k := range kinds {
			n.put(t, k.path)
			before := n.front.Sent()
			cell(n.name, k, func(_ proc.Result, _ *stage, a answer) error { return n.fetched(k, a, n.front.Sent()-before) },
				func(s *stage) proc.Command { return s.command(n.source, n.env, n.args...) })
		}
	}
	if log := h.open.Log(t); ran["http, proxy"] && !strings.Contains(log, "GET") {
		t.Error("nothing went through the proxy")
	}
	if log := h.closed.Log(t); ran["https, proxy with password"] && !strings.Contains(log, "CONNECT") {
		t.Error("nothing went through the proxy with a password")
	}

	dir := t.TempDir()
	for i, k := range kinds {
		c, err := images.NewContainer(k.path)
		must(t, err)
		at := func(name string) string { return filepath.Join(dir, fmt.Sprint(name, i)) }
		must(t, c.WriteLayout(at("oci")))
		must(t, c.WriteArchive(at("oci.tar")))
		must(t, c.WriteDockerArchive(at("docker.tar")))
		for _, source := range []string{"oci:" + at("oci") + ":v1", "oci-archive:" + at("oci.tar"), "docker-archive:" + at("docker.tar") + ":disk:v1"} {
			scheme, _, _ := strings.Cut(source, ":")
			cell(scheme, k, nil, func(s *stage) proc.Command { return s.command(source, nil) })
		}
		cell("file", k, nil, func(s *stage) proc.Command { return s.command(k.path, nil) })
		volume := at("volume")
		must(t, os.Mkdir(volume, 0o700))
		must(t, os.Link(k.path, filepath.Join(volume, "disk.img")))
		cell("volume", k, nil, func(s *stage) proc.Command { return s.command(volume+"/", nil) })
		if !k.codec { // a device has zeros behind the image, which a compressed stream has not
			cell("block device", k, nil, func(s *stage) proc.Command { return s.command(device(t, k.path, at("device")), nil) })
		}
		cell("stdin", k, nil, func(s *stage) proc.Command {
			f, err := os.Open(k.path)
			must(t, err)
			t.Cleanup(func() { _ = f.Close() })
			c := s.command("-", nil)
			c.Stdin = io.MultiReader(f) // a pipe, not the file
			return c
		})
	}
}

// fetched holds an import to what its server has sent: no byte twice, and what the program says of it.
func (n *network) fetched(k stored, a answer, sent int64) error {
	most := size(k.path) + 64<<10
	if !n.pinned {
		most = size(k.path) + size(k.path)/50 + 4<<10 // tables are read, and lie in a larger range once more
	}
	if sent > most || a.BytesFetched > most {
		return fmt.Errorf("%d bytes were sent and %d counted for %d", sent, a.BytesFetched, size(k.path))
	}
	if d := sent - a.BytesFetched; d < -4096 || d > 512<<10 { // a manifest; what was under way at the end of a stream
		return fmt.Errorf("%d bytes were sent, and %d counted", sent, a.BytesFetched)
	}
	return nil
}

// device is a loop device over a copy of the file, which ends with a whole sector.
func device(t *testing.T, path, copied string) string {
	t.Helper()
	if os.Getuid() != 0 {
		proc.Lacking(t, "a loop device is root's")
	}
	b, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(copied, append(b, make([]byte, -len(b)&511)...), 0o600))
	dev := strings.TrimSpace(tool(t, "losetup", "-f", "--show", "-r", copied))
	t.Cleanup(func() {
		if _, err := proc.Tool(t.Context(), "losetup", "-d", dev); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return dev
}

func size(path string) int64 {
	st, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return st.Size()
}

func kib(n int64) string { return fmt.Sprintf("%d K", (n+1023)>>10) }
