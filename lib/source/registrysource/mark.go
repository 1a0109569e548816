package registrysource

import (
	"archive/tar"
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/cdictl/cdictl/lib/compress"
	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/verify"
)

// A place in a layer where reading can go on: what came before it counts for the layer's digest by the state of the hash.
type place struct {
	Stored int64  `json:"stored"` // where decoding goes on
	Out    int64  `json:"out"`    // of the tar, before it
	Codec  []byte `json:"codec,omitempty"`
	Hashed int64  `json:"hashed"` // at or before Stored
	Hash   []byte `json:"hash"`
}

const (
	// maxNotes is how many places are remembered, of up to 32 KiB each. The codecs' lie 4 MiB of content apart or more, and a
	// disk is written some 64 MiB behind its reader at most.
	maxNotes = 64
	noteStep = 1 << 20 // stored bytes between two
)

// notes are the last places of a decoder, which its goroutine adds.
type notes struct {
	mu   sync.Mutex
	list []place
}

func (n *notes) add(p compress.Point, stored *verify.Reader) {
	hashed, state, ok := stored.Mark(p.Stored)
	if !ok {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if k := len(n.list); k > 0 && p.Stored-n.list[k-1].Stored < noteStep {
		return
	}
	if len(n.list) == maxNotes {
		n.list = append(n.list[:0], n.list[1:]...)
	}
	n.list = append(n.list, place{Stored: p.Stored, Out: p.Out, Codec: p.State, Hashed: hashed, Hash: state})
}

// before is the last place at or before out bytes of the tar, and forgets those before it.
func (n *notes) before(out int64) (place, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := 0
	for k < len(n.list) && n.list[k].Out <= out {
		k++
	}
	if k == 0 {
		return place{}, false
	}
	n.list = n.list[k-1:]
	return n.list[0], true
}

// restarts reports whether the layer has places to begin at: one whose digest is that of its tar has none, as what is decoded
// would have to be hashed too.
func (t *tarball) restarts() bool { return !t.layer.stored.IsZero() }

// read reads the content of the entry.
func (t *tarball) read(p []byte) (int, error) {
	if t.tr == nil {
		return t.unpacked.Read(p)
	}
	return t.tr.Read(p)
}

// leave ends the entry in which reading was gone on with: its header, which the tar reader would have had, was read elsewhere.
func (t *tarball) leave(size int64) error {
	if t.tr != nil {
		return nil
	}
	if _, err := io.CopyN(io.Discard, t.unpacked, -size&511); err != nil {
		return t.wrong(err)
	}
	t.tr = tar.NewReader(t.unpacked)
	return nil
}

// Marks says where an interrupted import of the disk could go on.
func (b *blob) Marks() (string, bool) {
	switch c := b.from.codec; {
	case !b.from.restarts():
		return "a docker archive has no place to begin at but its start", false
	case c == compress.Codec{}:
		return "at each MiB of the layer", true
	case !c.Points():
		return c.Name() + ", which the layer is packed by, has no place to begin at but its start", false
	case c == compress.Gzip:
		return "at blocks of gzip in the layer", true
	case c == compress.Zstd:
		return "at frames of zstd in the layer, if there are several", true
	default:
		return "at blocks of " + c.Name() + " in the layer, if there are several", true
	}
}

// Mark tells a place at or before byte off of the disk.
func (b *blob) Mark(off int64) ([]byte, bool) {
	b.mu.Lock()
	t, out := b.from, b.start+off
	b.mu.Unlock()
	if !t.restarts() {
		return nil, false
	}
	p, ok := t.notes.before(out)
	if t.codec == (compress.Codec{}) {
		if p.Hashed, p.Hash, ok = t.stored.Mark(out); ok {
			p.Stored, p.Out = p.Hashed, p.Hashed
		}
	}
	if !ok {
		return nil, false
	}
	state, err := json.Marshal(p)
	return state, err == nil
}

// StartWith goes on at byte off of the disk. What Open has read of the layer up to the disk it has read anew, so state is
// believed for nothing but where to begin, and how the hash stood there.
func (b *blob) StartWith(state []byte, off int64) error {
	if err := b.startWith(state, off); err != nil {
		return b.src.fail("read", err)
	}
	return nil
}

func (b *blob) startWith(state []byte, off int64) error {
	var p place
	d := json.NewDecoder(bytes.NewReader(state))
	d.DisallowUnknownFields()
	old, out := b.from, b.start+off
	if err := d.Decode(&p); err != nil || !old.restarts() || off < 0 || off > b.disk.size ||
		p.Hashed < 0 || p.Hashed > p.Stored || p.Stored > old.layer.size || p.Out < 0 || p.Out > out {
		return corrupt("what was noted of the layer contradicts it")
	}
	t, err := b.src.resumed(b, old, p)
	if err != nil {
		return err
	}
	b.swap(t)
	b.mu.Lock()
	b.from = t
	b.mu.Unlock()
	b.err, b.rest = nil, b.disk.size-off
	if _, err := io.CopyN(io.Discard, t.unpacked, out-p.Out); err != nil {
		return b.cause(t.wrong(err))
	}
	return nil
}

// resumed opens a layer at a place of it.
func (s *Source) resumed(b *blob, old *tarball, p place) (_ *tarball, err error) {
	body, err := b.store.open(b.ctx, old.layer, p.Hashed)
	if err != nil {
		return nil, err
	}
	t := &tarball{layer: old.layer, body: body, most: old.most, n: old.n, codec: old.codec}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	t.stored = verify.NewReader(&exact{r: body, what: t.layer.String(), rest: t.layer.size - p.Hashed}, t.layer.stored)
	if err := t.stored.Resume(p.Hashed, p.Hash); err != nil {
		return nil, err
	}
	br := bufio.NewReaderSize(t.stored, 64<<10)
	if _, err := io.CopyN(io.Discard, br, p.Stored-p.Hashed); err != nil {
		return nil, fmt.Errorf("%s: %w", t.layer, noEOF(err))
	}
	var r io.Reader = br
	if t.codec != (compress.Codec{}) {
		t.notes.list = []place{p} // what is written before the next one is met counts too
		d, err := t.codec.Resume(br, compress.Point{Stored: p.Stored, Out: p.Out, State: p.Codec}, s.decoding(t))
		if err != nil {
			return nil, err
		}
		t.decoder, r = d, d
	}
	t.unpacked = verify.NewReader(r, verify.Digest{})
	return t, t.unpacked.Resume(p.Out, nil)
}

// noEOF: an end where there was more before.
func noEOF(err error) error {
	if err == io.EOF {
		return fmt.Errorf("it ends before the place where it stopped: %w", errdef.ErrChanged)
	}
	return err
}
