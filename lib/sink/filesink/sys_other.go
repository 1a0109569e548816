//go:build !linux

package filesink

import (
	"context"
	"errors"
	"os"

	"github.com/cdictl/cdictl/lib/internal/fsop"
)

// openDirect: only Linux has it in a form that falls into line with cached writes.
func openDirect(*os.File, string, int, bool, fsop.Tap) (*os.File, error) {
	return nil, errors.ErrUnsupported
}

// fallocate is left to written zeros.
func fallocate(context.Context, *os.File, int64) error { return errors.ErrUnsupported }

// clearRange is left to written zeros.
func clearRange(*os.File, int64, int64, bool) error { return errors.ErrUnsupported }

// dataRuns is not known.
func dataRuns(*os.File, func(off, n int64)) error { return errors.ErrUnsupported }

// space is not known.
func space(*os.File) (free, have int64, known bool) { return 0, 0, false }

// pacer leaves it to the system when to write back.
type pacer struct{ f *os.File }

func (*pacer) wrote(int) error { return nil }
func (*pacer) failed() error   { return nil }
