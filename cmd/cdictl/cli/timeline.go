package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/trace"
)

// timeline records into the file of --trace; stop ends the recording. Without a path nothing is recorded.
func (a *app) timeline(path string) (r *trace.Recorder, stop func(), err error) {
	if path == "" {
		return nil, func() {}, nil
	}
	f, err := createTimeline(path)
	if err != nil {
		return nil, nil, err
	}
	w := bufio.NewWriterSize(f, 64<<10)
	r = trace.New(w)
	return r, func() {
		// The disk is what was asked for: that its timeline has a gap is said, and is no failure.
		if err := errors.Join(r.Close(), w.Flush(), f.Close()); err != nil {
			a.say("cdictl: the timeline of --trace is not complete: " + clean(err.Error()))
		}
	}, nil
}

// createTimeline makes the file anew where it is a timeline or empty. Anything else is a name given by mistake, and
// could be a disk.
func createTimeline(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, usagef("--trace: %w", err)
	}
	fi, err := f.Stat()
	if err == nil && fi.Mode().IsRegular() && fi.Size() > 0 {
		var first [1]byte
		if _, err = io.ReadFull(f, first[:]); err == nil && first[0] != '[' {
			err = fmt.Errorf("it holds something else than a timeline: %w", errdef.ErrExists)
		}
		if err == nil {
			_, err = f.Seek(0, io.SeekStart)
		}
		if err == nil {
			err = f.Truncate(0)
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("--trace %s: %w", path, err)
	}
	return f, nil
}
