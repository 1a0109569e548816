package transfertest

import (
	"bytes"
	"context"
	"io"
	"sync"
	"testing"

	"github.com/cdictl/cdictl/lib/sink"
)

// A disk is a sink in memory. It takes nothing before its size is known, and nothing behind its end.
type disk struct {
	t    testing.TB
	data []byte
}

func (d *disk) resize(size int64) error {
	d.data = make([]byte, size)
	return nil
}

func (d *disk) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > int64(len(d.data))-int64(len(p)) {
		d.t.Errorf("write at %d (%d bytes) to a disk of %d", off, len(p), len(d.data))
		return 0, io.ErrShortWrite
	}
	return copy(d.data[off:], p), nil
}

func (d *disk) Zero(off, n int64) error {
	if off < 0 || n < 0 || off > int64(len(d.data))-n {
		d.t.Errorf("zeros at %d (%d bytes) in a disk of %d", off, n, len(d.data))
		return io.ErrShortWrite
	}
	clear(d.data[off:][:n])
	return nil
}

func (*disk) Caps() sink.Caps                     { return sink.Caps{Align: 4096} }
func (*disk) Commit(context.Context, int64) error { return nil }
func (*disk) Close() error                        { return nil }

// A memory is a file that is written and read by several goroutines.
type memory struct {
	mu sync.Mutex
	b  []byte
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if end := int(off) + len(p); end > len(m.b) {
		m.b = append(m.b, make([]byte, end-len(m.b))...)
	}
	return copy(m.b[off:], p), nil
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.NewReader(m.b).ReadAt(p, off)
}
