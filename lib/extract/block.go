package extract

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
)

const blockSize = 512

// A block is a header as it is stored. Fields are those of POSIX ustar, and of GNU tar where it differs.
type block [blockSize]byte

// family is which program's fields a header has.
type family int

const (
	v7 family = iota
	ustar
	star
	gnu
)

func (b *block) family() family {
	switch magic := string(b[257:265]); {
	case magic == "ustar  \x00":
		return gnu
	case strings.HasPrefix(magic, "ustar\x00") && string(b[508:512]) == "tar\x00":
		return star
	case strings.HasPrefix(magic, "ustar\x00"):
		return ustar
	}
	return v7
}

// blank reports an all-zero block: half of the end mark.
func (b *block) blank() bool { return *b == block{} }

// sound compares the checksum, which old programs made of signed bytes.
func (b *block) sound() bool {
	want, err := number(b[148:156])
	if err != nil {
		return false
	}
	var unsigned, signed int64
	for i, c := range b {
		if i >= 148 && i < 156 {
			c = ' '
		}
		unsigned += int64(c)
		signed += int64(int8(c))
	}
	return want == unsigned || want == signed
}

// name is the name that fits into the header.
func (b *block) name() string {
	name, prefix := text(b[:100]), ""
	switch b.family() {
	case ustar:
		prefix = text(b[345:500])
	case star:
		prefix = text(b[345:476])
	}
	if prefix != "" {
		return prefix + "/" + name
	}
	return name
}

func (b *block) link() string { return text(b[157:257]) }

// field is a number of the header, which what names in messages.
func (b *block) field(what string, from, to int) (int64, error) {
	n, err := number(b[from:to])
	if err != nil {
		return 0, fmt.Errorf("%s %w", what, err)
	}
	return n, nil
}

// text is a field up to its first zero byte.
func text(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}

// number is a field in octal digits, or in two's complement behind a set bit, as GNU tar and star write what is large or
// negative.
func number(b []byte) (int64, error) {
	if b[0]&0x80 == 0 {
		s := strings.Trim(string(b), " \x00")
		if s == "" {
			return 0, nil
		}
		n, err := strconv.ParseUint(s, 8, 63)
		if err != nil {
			return 0, fmt.Errorf("%.20q is no octal number below 2^63: %w", s, errdef.ErrCorrupt)
		}
		return int64(n), nil
	}
	var flip byte
	if b[0]&0x40 != 0 {
		flip = 0xff
	}
	var n uint64
	for i, c := range b {
		c ^= flip
		if i == 0 {
			c &= 0x7f
		}
		if n>>55 > 0 { // the next byte would reach the sign
			return 0, fmt.Errorf("%x is no number of 63 bits: %w", b, errdef.ErrCorrupt)
		}
		n = n<<8 | uint64(c)
	}
	if flip != 0 {
		return ^int64(n), nil
	}
	return int64(n), nil
}
