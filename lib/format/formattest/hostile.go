package formattest

import (
	"bytes"
	"testing"

	"github.com/cdictl/cdictl/lib/internal/testimage"
)

// Hostile reads each file in every way: in little time and memory, to the error that it must come to, or to its disk.
func Hostile(t *testing.T, files []testimage.Hostile, r Reader) {
	for _, h := range files {
		t.Run(h.Name, func(t *testing.T) {
			file, disk := h.Make()
			defer Frugal(t)()
			got, err := Agree(t, file, r)
			if problem := h.Check(err); problem != nil {
				t.Fatal(problem)
			}
			if err == nil && !bytes.Equal(got, disk) {
				t.Fatal("another disk")
			}
		})
	}
}
