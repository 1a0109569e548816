package runner

import (
	"testing"

	"github.com/cdictl/cdictl/lib/job"
	"github.com/cdictl/cdictl/lib/resize"
)

// TestAsBefore: the disk keeps its size where the filesystem has a little less room than when it was begun, and only then.
func TestAsBefore(t *testing.T) {
	const gib = 1 << 30
	usable := func(n int64, o resize.Overhead) int64 {
		n, err := resize.Usable(n, o)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, c := range []struct {
		name         string
		was, is      int64 // room
		overhead     resize.Overhead
		stream, same bool // stream: the part is as long as the room
	}{
		{"a table more", 9 * gib, 9*gib - 3<<20, 60, false, true},
		{"a table less", 9 * gib, 9*gib + 3<<20, 60, false, true},
		{"a table more, stream", 9 * gib, 9*gib - 3<<20, 60, true, true},
		{"no overhead", 9 * gib, 9*gib - 3<<20, 0, false, true},
		{"no overhead, stream", 9 * gib, 9*gib - 3<<20, 0, true, true},
		{"another filesystem", 9 * gib, 5 * gib, 60, false, false},
		{"another filesystem, stream", 9 * gib, 5 * gib, 60, true, false},
		{"more than is asked for", 12 * gib, 10 * gib, 0, false, false},
	} {
		length := usable(c.was, c.overhead)
		if c.stream {
			length = c.was
		}
		r := &run{spec: job.Spec{Target: job.Target{Size: 10 * gib}}, room: c.is, size: usable(c.is, c.overhead)}
		r.asBefore(length, c.overhead)
		same := r.size == usable(c.was, c.overhead) && (!c.stream || r.room == c.was)
		if same != c.same || !same && (r.room != c.is || r.size != usable(c.is, c.overhead)) || r.size > r.room {
			t.Errorf("%s: size %d, room %d", c.name, r.size, r.room)
		}
	}
}
