package transfer

import (
	"errors"
	"fmt"
	"io"
	"sort"

	"github.com/cdictl/cdictl/lib/errdef"
)

// A SpoolFile is a new file to which Convert writes what it cannot hold, at its offset in the stream, and reads it again.
type SpoolFile interface {
	io.ReaderAt
	io.WriterAt
}

// spill is what was written to a spool. The extents grow at their end only: what is held longest goes first, and there
// is one pass.
type spill struct {
	file    SpoolFile
	extents []span
	bytes   int64
	most    int // extents
}

// write keeps p, which was at off. Zeros are left out: the file is new.
func (s *spill) write(off int64, p []byte) error {
	if n := len(s.extents); n > 0 && s.extents[n-1].end() == off {
		s.extents[n-1].n += int64(len(p))
	} else if n >= s.most {
		return errdef.WithHint(fmt.Errorf("the spool has more than %d separate stretches: %w", s.most, errdef.ErrLimit),
			"if the image is trusted, raise --max-metadata")
	} else {
		s.extents = append(s.extents, span{off, int64(len(p))})
	}
	for len(p) > 0 {
		data, zero := split(off, p)
		if data > 0 {
			if _, err := s.file.WriteAt(p[:data], off); err != nil {
				return err
			}
			s.bytes += int64(data)
		}
		off, p = off+int64(data+zero), p[data+zero:]
	}
	return nil
}

// at tells how many bytes from off on are in the spool.
func (s *spill) at(off int64) int64 {
	if i := s.search(off); i < len(s.extents) && s.extents[i].off <= off {
		return s.extents[i].end() - off
	}
	return 0
}

// next returns the first offset from off on that is in the spool, end if there is none before.
func (s *spill) next(off, end int64) int64 {
	if i := s.search(off); i < len(s.extents) {
		return min(max(off, s.extents[i].off), end)
	}
	return end
}

// search returns the index of the first extent that ends behind off.
func (s *spill) search(off int64) int {
	return sort.Search(len(s.extents), func(i int) bool { return s.extents[i].end() > off })
}

// read fills p with what was at off, all of which is in the spool. Zeros at the end of the file were left out.
func (s *spill) read(p []byte, off int64) error {
	n, err := s.file.ReadAt(p, off)
	if n < len(p) && !errors.Is(err, io.EOF) {
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read the spool at %d: %w", off, err)
	}
	clear(p[n:])
	return nil
}
