package resize

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
)

// Overhead is what a filesystem keeps to itself of every byte that a disk on it has, in thousandths: 60 is "0.06", 6%.
// It is a whole number because sizes must come out the same wherever they are computed: a claim that is one byte short
// is a disk that is one MiB short.
type Overhead int

// DefaultOverhead is what is assumed where nothing is configured: 6%, the figure of the containerized-data-importer.
const DefaultOverhead Overhead = 60

// ParseOverhead reads an overhead as CDIConfig has it: "0", "1", or "0." and one to three digits. Everything else, the
// empty string too, is errdef.ErrUsage.
func ParseOverhead(s string) (Overhead, error) {
	switch fraction, ok := strings.CutPrefix(s, "0."); {
	case s == "0":
		return 0, nil
	case s == "1":
		return 1000, nil
	case ok && digits(fraction) && len(fraction) <= 3:
		n, err := strconv.Atoi((fraction + "00")[:3])
		return Overhead(n), err
	}
	return 0, errdef.WithHint(fmt.Errorf("filesystem overhead %.20q is not a number from 0 to 1 with at most three decimals: %w", s, errdef.ErrUsage),
		`write it like "0.06", for 6%`)
}

// String is what ParseOverhead reads.
func (o Overhead) String() string {
	if o%1000 == 0 {
		return strconv.Itoa(int(o / 1000))
	}
	return "0." + strings.TrimRight(fmt.Sprintf("%03d", int(o)), "0")
}

// Usable is the largest disk that fits a filesystem of available bytes: whole MiB.
func Usable(available int64, o Overhead) (int64, error) {
	if err := o.check(available); err != nil {
		return 0, err
	}
	return ceilDiv(available, 1000, 1000+uint64(o)) &^ (Alignment - 1), nil // never more than available
}

// Required is the capacity of a filesystem on which a disk of size bytes fits: Usable of it is at least size.
func Required(size int64, o Overhead) (int64, error) {
	if err := o.check(size); err != nil {
		return 0, err
	}
	aligned, err := AlignUp(size, Alignment)
	if err != nil {
		return 0, err
	}
	n := ceilDiv(aligned, 1000+uint64(o), 1000)
	if n < 0 {
		return 0, fmt.Errorf("disk of %d bytes with a filesystem overhead of %s: %w", size, o, errdef.ErrLimit)
	}
	return n, nil
}

func (o Overhead) check(size int64) error {
	if size < 0 || o < 0 || o > 1000 {
		return fmt.Errorf("size %d with a filesystem overhead of %d thousandths: sizes are positive, an overhead is from 0 to 1: %w", size, int(o), errdef.ErrUsage)
	}
	return nil
}

// ceilDiv is n*mul/div, rounded up, with 128 bits in between; -1 where it is more than an int64.
func ceilDiv(n int64, mul, div uint64) int64 {
	hi, lo := bits.Mul64(uint64(n), mul)
	lo, carry := bits.Add64(lo, div-1, 0)
	hi += carry
	if hi >= div {
		return -1
	}
	q, _ := bits.Div64(hi, lo, div)
	if q > math.MaxInt64 {
		return -1
	}
	return int64(q)
}
