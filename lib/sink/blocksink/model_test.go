package blocksink

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/sink"
)

// memDevice is a device that forgets what was not flushed when its power fails. It checks the alignment that real ones
// insist on.
type memDevice struct {
	sector int64
	noSync bool // a device, or a program, that does not flush

	mu      sync.Mutex
	now     []byte // as read
	durable []byte
	pending []change
	failAt  int // the operation that fails; 0: none
	ops     int
	onOp    func() // before each operation
	gate    func() error
}

// change is what was done to one sector since the last flush.
type change struct {
	off  int64
	data []byte
}

var errDevice = errors.New("the device is on fire")

func newMem(size, sector int64) *memDevice {
	old := bytes.Repeat([]byte{0xa5}, int(size))
	return &memDevice{sector: sector, now: old, durable: bytes.Clone(old)}
}

func (m *memDevice) op(off, n int64) error {
	if off%m.sector != 0 || n%m.sector != 0 || off < 0 || off+n > int64(len(m.now)) {
		return fmt.Errorf("operation on [%d,+%d) of a device of %d with sectors of %d", off, n, len(m.now), m.sector)
	}
	if m.gate != nil {
		if err := m.gate(); err != nil {
			return err
		}
	}
	m.ops++
	if m.onOp != nil {
		m.onOp()
	}
	if m.ops == m.failAt {
		return errDevice
	}
	return nil
}

func (m *memDevice) ReadAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.op(off, int64(len(p))); err != nil {
		return 0, err
	}
	return copy(p, m.now[off:]), nil
}

func (m *memDevice) WriteAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.op(off, int64(len(p))); err != nil {
		return 0, err
	}
	copy(m.now[off:], p)
	for s := off; s < off+int64(len(p)); s += m.sector {
		m.pending = append(m.pending, change{s, bytes.Clone(m.now[s : s+m.sector])})
	}
	return len(p), nil
}

func (m *memDevice) Zero(off, n int64, _ bool) error {
	_, err := m.WriteAt(make([]byte, n), off)
	return err
}

func (m *memDevice) Sync() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.op(0, 0); err != nil || m.noSync {
		return err
	}
	for _, c := range m.pending {
		copy(m.durable[c.off:], c.data)
	}
	m.pending = nil
	return nil
}

func (m *memDevice) Close() error { return nil }

// crash returns what may be on the device after a power cut now: of what was not flushed any part, in any order.
func (m *memDevice) crash(r *rand.Rand) []byte {
	b := bytes.Clone(m.durable)
	keep := r.IntN(5) // none, all, or some of it
	for _, i := range r.Perm(len(m.pending)) {
		if keep == 4 || keep > 0 && r.IntN(4) < keep {
			c := m.pending[i]
			copy(b[c.off:], c.data)
		}
	}
	return b
}

func openMem(t testing.TB, m *memDevice, size int64) *disk {
	t.Helper()
	d, err := newDisk(New("mem", Options{}), m, int64(len(m.now)), m.sector, sink.Options{Size: size})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// diskOf is content that is recognised, by its start and by its end, and has zeros within.
func diskOf(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b)
	clear(b[size/3 : size/2])
	copy(b[510:], "\x55\xaa")
	copy(b[512:], "EFI PART")
	copy(b[1024+56:], "\x53\xef")
	copy(b[size-512:], "EFI PART")
	return b
}

// half says what shows too early on a device with b, whose disk will be full; "" if nothing does.
func half(b, full []byte, sector int64) string {
	page, n := max(pageBytes, sector), int64(len(b))
	b = unmarked(b, sector)
	what, _ := recognise(bytes.NewReader(b), n, sector)
	switch {
	case !blankBytes(b[:page]) && !bytes.Equal(b[page:], full[page:]):
		return "the first page is there before the rest"
	case !blankBytes(b[:heldBytes]) && !bytes.Equal(b[heldBytes:], full[heldBytes:]):
		return "the first MiB is there before the rest"
	case what != "" && !bytes.Equal(b[heldBytes:n-heldBytes], full[heldBytes:n-heldBytes]):
		return what + " is found before all between the ends is there"
	}
	return ""
}

// unmarked is b without the token of an import.
func unmarked(b []byte, sector int64) []byte {
	off, _ := markAt(int64(len(b)), sector)
	if bytes.HasPrefix(b[off:], []byte("cdictl: import")) {
		b = bytes.Clone(b)
		clear(b[off : off+sector])
	}
	return b
}

// powerFail imports want to a device that may lose its power at each operation and returns what was wrong then.
func powerFail(t *testing.T, m *memDevice, want []byte, opened int64) (wrong []string) {
	r := rand.New(rand.NewPCG(1, 2))
	full := append(bytes.Clone(want), make([]byte, len(m.now)-len(want))...)
	begun, committed := false, false
	m.onOp = func() {
		for range 2 {
			b := m.crash(r)
			switch what := half(b, full, m.sector); {
			case !begun: // Open is not done, and the old content may be there still
			case committed:
				if !bytes.Equal(b, full) {
					wrong = append(wrong, fmt.Sprintf("operation %d: committed, and not durable", m.ops))
				}
			case what != "":
				wrong = append(wrong, fmt.Sprintf("operation %d: %s", m.ops, what))
			}
		}
	}
	d := openMem(t, m, opened)
	begun = true
	m.onOp() // as if Open had returned and the power failed
	for off := len(want); off > 0; {
		k := min(off, 300_001)
		off -= k
		if _, err := d.WriteAt(want[off:off+k], int64(off)); err != nil {
			t.Fatal(err)
		}
		m.onOp()
	}
	if err := d.Commit(t.Context(), int64(len(want))); err != nil {
		t.Fatal(err)
	}
	committed = true
	m.onOp()
	return wrong
}

// TestPowerFail cuts the power before and after each operation.
func TestPowerFail(t *testing.T) {
	for _, sector := range []int64{512, 4096} {
		sizes := []int{2<<20 + 4097, 3<<20 + 512, 4 << 20}
		if testing.Short() {
			sizes = sizes[:1]
		}
		for _, size := range sizes {
			for _, opened := range []int64{int64(size), -1} {
				t.Run(fmt.Sprintf("sector=%d/size=%d/opened=%d", sector, size, opened), func(t *testing.T) {
					m := newMem(4<<20, sector)
					for _, w := range powerFail(t, m, diskOf(size), opened) {
						t.Error(w)
					}
				})
			}
		}
	}
	t.Run("a device that does not flush is caught", func(t *testing.T) {
		m := newMem(4<<20, 512)
		m.noSync = true
		wrong := powerFail(t, m, diskOf(3<<20), 3<<20)
		if len(wrong) == 0 {
			t.Error("nothing wrong was found")
		}
		t.Logf("%d violations, as it should be; the first: %v", len(wrong), wrong[0])
	})
}

// TestCloseAtEachStep: an import that fails anywhere, in Commit too, leaves nothing to recognise.
func TestCloseAtEachStep(t *testing.T) {
	want := diskOf(3 << 20)
	for failAt := 1; ; failAt++ {
		m := newMem(5<<20, 512)
		d := openMem(t, m, int64(len(want)))
		m.ops, m.failAt = 0, failAt
		_, werr := d.WriteAt(want, 0)
		cerr := d.Commit(t.Context(), int64(len(want)))
		if cerr == nil {
			if failAt < 8 {
				t.Errorf("only %d operations", failAt)
			}
			return
		}
		if !errors.Is(cerr, errDevice) {
			t.Errorf("Commit with a failure at %d (%v): %v", failAt, werr, cerr)
		}
		if err := d.Commit(t.Context(), int64(len(want))); !errors.Is(err, errDevice) {
			t.Errorf("Commit after a failure: %v", err)
		}
		if err := d.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if !blankBytes(m.durable[:heldBytes]) || !blankBytes(m.durable[len(m.durable)-heldBytes:]) {
			t.Errorf("after a failure at operation %d and Close, the ends are not blank", failAt)
		}
	}
}

// FuzzDisk does what the input says, on memory, and compares with the plain meaning of it.
func FuzzDisk(f *testing.F) {
	f.Add(uint16(5000), uint16(3), true, []byte{0, 10, 0, 9, 1, 5, 0, 200, 2, 0, 1, 255})
	f.Add(uint16(64), uint16(0), false, []byte{1, 0, 0, 100, 0, 40, 0, 1, 0, 41, 0, 1, 1, 40, 1, 1})
	f.Fuzz(func(t *testing.T, sectors, less uint16, known bool, ops []byte) {
		const sector = 512
		device := int64(sectors)%6000*sector + sector
		size := max(0, device-int64(less)*7)
		m := newMem(device, sector)
		opened := int64(-1)
		if known {
			opened = size
		}
		d := openMem(t, m, opened)
		d.cover.most = 2 // so that much is settled
		want := make([]byte, device)
		for fill := byte(1); len(ops) >= 4; fill, ops = fill+1, ops[4:] {
			off := int64(ops[1])<<8 | int64(ops[2])*97
			off = off * 41 % max(size, 1)
			n := min(int64(ops[3])*int64(ops[3])*13, size-off)
			switch p := want[off : off+n]; ops[0] % 3 {
			case 0:
				for i := range p {
					p[i] = max(fill, 1)
				}
				if _, err := d.WriteAt(p, off); err != nil {
					t.Fatal(err)
				}
			default:
				clear(p)
				if err := d.Zero(off, n); err != nil {
					t.Fatal(err)
				}
			}
		}
		if !blankBytes(m.now[:min(heldBytes, device)]) || !blankBytes(m.now[max(0, device-heldBytes):]) {
			t.Fatal("something shows before Commit")
		}
		size -= size / 5 * int64(less%2)
		clear(want[size:])
		if err := d.Commit(t.Context(), size); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(m.durable, want) {
			t.Fatal("the disk differs")
		}
	})
}

func TestCommitLimits(t *testing.T) {
	m := newMem(4<<20, 512)
	d := openMem(t, m, -1)
	if _, err := d.WriteAt(make([]byte, 1024), 4<<20-512); !errors.Is(err, errdef.ErrTooSmall) {
		t.Errorf("write past the device: %v, want ErrTooSmall", err)
	}
	if err := d.Commit(t.Context(), 4<<20+1); !errors.Is(err, errdef.ErrTooSmall) {
		t.Errorf("Commit of more than the device: %v, want ErrTooSmall", err)
	}
	if err := d.Commit(t.Context(), 4<<20); err != nil {
		t.Errorf("and of all of it: %v", err)
	}
	if !blankBytes(m.durable) {
		t.Error("old data shines through")
	}
}
