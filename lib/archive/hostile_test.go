package archive

import (
	"bytes"
	"testing"

	"github.com/cdictl/cdictl/lib/format/formattest"
	"github.com/cdictl/cdictl/lib/internal/testimage"
)

// TestHostile reads archives that lie, by random access and as a stream.
func TestHostile(t *testing.T) {
	for _, h := range append(testimage.TarHostiles(), testimage.OVAHostiles()...) {
		t.Run(h.String(), func(t *testing.T) {
			file, disk := h.Make()
			defer formattest.Frugal(t)()
			check := func(how, got string, err error, h testimage.Hostile) {
				t.Helper()
				if problem := h.Check(err); problem != nil {
					t.Errorf("%s: %.300v", how, problem)
				}
				if err == nil && got != string(disk) {
					t.Errorf("%s: %.100q", how, got)
				}
				if err != nil && len(err.Error()) > 4000 {
					t.Errorf("%s: a message of %d bytes", how, len(err.Error()))
				}
			}
			got, err := find(t, file, Options{})
			check("random", got, err, h)
			got, err = stream(bytes.NewReader(file), Options{})
			check("stream", got, err, h.Streamed())
		})
	}
}
