package image

// A Range is a run of bytes of the blob.
type Range struct{ Start, Length int64 }

// End is the offset behind the range's last byte.
func (r Range) End() int64 { return r.Start + r.Length }

// A Learner finds out where a disk's data is stored while the blob passes in its order, as it must where it cannot be read
// out of order. It exists beside Mapper because a Mapper has read all tables before it answers, and in a stream the
// data may lie before them.
//
// The caller gives the learner the metadata that it asks for; the learner answers with the runs that follow from them.
// What no run has named when the last range has been learnt is no content of the disk. A Learner is not safe for
// concurrent use, but for Unpack.
type Learner interface {
	// Next returns the range of metadata with the lowest start at or behind from, of those that the learner knows that
	// it needs and was not given yet. ok is false if there is none: with from 0, then nothing is needed any more and the
	// map of the disk is complete. A range has at most MaxWant bytes; long tables are asked for in pieces.
	Next(from int64) (r Range, ok bool)
	// Learn takes the bytes of a range that Next returned, all of them, in whatever order the caller could get at them, and appends the
	// runs that follow to runs. p is the caller's. A run never overlaps another's guest range in what one Learner returns.
	Learn(r Range, p []byte, runs []Run) ([]Run, error)
	// Size is the virtual size; -1 before the range that tells it was learnt.
	Size() int64
	// Finish checks what only the end tells: stored is the length of the blob.
	Finish(stored int64) error
	// Unpack is as Mapper's.
	Unpack(dst, stored []byte) error
}

// A Measurer is a Learner whose packed runs have an upper bound for a length: with it a caller can tell bytes that belong to
// a run from those that another may have, of which the learner will only know later.
type Measurer interface {
	// UnpackMeasured is Unpack and tells how many of the stored bytes are the run's; fewer than there are does no harm.
	UnpackMeasured(dst, stored []byte) (n int, err error)
}

// MaxWant bounds the ranges that a Learner asks for.
const MaxWant = 1 << 20
