package importer_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"slices"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/journal"
	"github.com/cdictl/cdictl/lib/internal/testimage"
	"github.com/cdictl/cdictl/lib/limits"
	"github.com/cdictl/cdictl/lib/transfer"
)

// recordHead is what lies before a record's body: magic and checksum.
const recordHead = len("cdictl part 2\n") + sha256.Size

// FuzzRecord lets a journal say anything of a stream's tables and of what is held of it. Somebody who can write beside the
// part can make the checksum right, too.
func FuzzRecord(f *testing.F) {
	formats := streamed()
	for _, h := range testimage.Hostiles() {
		if h.Want != nil {
			continue
		}
		file, _ := h.Make()
		fm, err := format.Detect(file[:min(len(file), format.PeekSize)], nil)
		i := slices.IndexFunc(formats, func(x format.Format) bool { return err == nil && x.Title == fm.Title })
		if i >= 0 {
			f.Add(uint8(i), recordOf(f, fm, file))
		}
	}
	head, err := (&journal.Record{}).Encode()
	if err != nil {
		f.Fatal(err)
	}
	magic := head[:recordHead-sha256.Size]
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		sum := sha256.Sum256(body)
		rec, err := journal.Decode(bytes.Join([][]byte{magic, sum[:], body}, nil))
		if err != nil || rec.Point == nil {
			return
		}
		fm := formats[int(which)%len(formats)]
		err = transfer.Check(learner(t, fm), rec.Point)
		if err != nil && !errors.Is(err, errdef.ErrCorrupt) && !errors.Is(err, errdef.ErrUnsupported) && !errors.Is(err, errdef.ErrLimit) {
			t.Fatalf("no sentinel: %v", err)
		}
		if again := transfer.Check(learner(t, fm), rec.Point); (again == nil) != (err == nil) {
			t.Fatalf("%v, and then %v", err, again)
		}
	})
}

// streamed are the formats that are read as a stream.
func streamed() (list []format.Format) {
	for _, fm := range format.Formats() {
		if _, ok := fm.Learner(format.Options{}); ok && fm.Name != "raw" {
			list = append(list, fm)
		}
	}
	return list
}

func learner(t testing.TB, fm format.Format) image.Learner {
	t.Helper()
	l, ok := fm.Learner(format.Options{Limits: limits.Limits{VirtualSize: 1 << 30, Metadata: 4 << 20}})
	if !ok {
		t.Fatalf("%s has no learner", fm.Name)
	}
	return l
}

// recordOf is the body of a record that has learnt all of file, and holds a bit of it.
func recordOf(t testing.TB, fm format.Format, file []byte) []byte {
	t.Helper()
	l := learner(t, fm)
	p := &journal.Point{Pos: int64(len(file)), Held: []journal.Bytes{{Off: 1, Data: file[1:9]}}}
	for {
		r, ok := l.Next(0)
		if !ok || r.End() > int64(len(file)) {
			break
		}
		b := file[r.Start:r.End()]
		if _, err := l.Learn(r, b, nil); err != nil {
			break // it lies somewhere that a reader by other ways does not look at
		}
		p.Learnt = append(p.Learnt, journal.Bytes{Off: r.Start, Data: b})
	}
	rec := journal.Record{Point: p}
	rec.Done.Add(0, 512)
	b, err := rec.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b[recordHead:]
}
