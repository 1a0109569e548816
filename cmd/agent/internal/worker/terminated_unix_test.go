//go:build unix

package worker

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/cdictl/cdictl/lib/job"
)

// settles waits until the part holds something and no more comes: what was sent has been written.
func (p *pod) settles(t *testing.T) {
	t.Helper()
	part := filepath.Join(filepath.Dir(p.disk), ".disk.img.cdictl.part")
	last, quiet := int64(0), time.Now()
	for deadline := time.Now().Add(3 * time.Minute); last == 0 || time.Since(quiet) < time.Second; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s does not settle; it holds %d bytes", part, last)
		}
		var st syscall.Stat_t
		if err := syscall.Stat(part, &st); err == nil && st.Blocks*512 != last {
			last, quiet = st.Blocks*512, time.Now()
		}
	}
}

func TestTerminated(t *testing.T) {
	g := &gate{content: content(24 * mib), after: 12 * mib}
	p := newPod(t, job.Spec{Source: http1(serve(t, g))})
	c, log := p.start(t, g)
	p.settles(t)
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// It may take twenty seconds to put things away. That it does so is seen by what it leaves, and it does not hang: the server
	// sends nothing more.
	if _ = c.Wait(); c.ProcessState.ExitCode() != 1 {
		t.Errorf("exit %d: %s", c.ProcessState.ExitCode(), log.String())
	}
	if r := p.told(t); r.Outcome != job.Retry || r.Reason != "Canceled" || r.ExitCode != 130 {
		t.Errorf("%+v", r)
	}
	// What it had so far is put away before it ends, for the next one.
	p.leaves(t, ".disk.img.cdictl.journal", ".disk.img.cdictl.part")
	logged(t, []byte(log.String()))
}
