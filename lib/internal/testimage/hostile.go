package testimage

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Hostile is a file that lies, and what must be said of it. Tests of the formats read them in every way; the program
// craft writes them for the suite that gives them to cdictl itself.
type Hostile struct {
	Format, Name string
	// Make returns the file, and the disk that must be read from it where nothing is wrong enough to refuse it.
	Make func() (file, disk []byte)
	// Snapshot is the internal snapshot that is to be read; empty: the active disk.
	Snapshot string
	// Want is the error; nil: it reads.
	Want error
	// Says is what the error must say.
	Says string
	// StreamSays is what it must say where the file comes in order only; empty: the same.
	StreamSays string
	// StreamOnly files show their lie to who reads them in order; tables by which others go are right.
	StreamOnly bool
	// StreamReads files are not refused where they come in order only: what lies is behind all that is needed of them.
	StreamReads bool
	// Expansion is the most bytes for one stored byte that are allowed, where Want is about that; 0: the default.
	Expansion int64
	// Plain files are none of their kind to who goes by content: what would tell it is what is not there.
	Plain bool
}

// String is unique among all.
func (h Hostile) String() string { return h.Format + ": " + h.Name }

// Check holds what a reader came to against what it must come to; nil if it does.
func (h Hostile) Check(err error) error {
	switch {
	case h.Want == nil && err != nil:
		return fmt.Errorf("error is %w, want none", err)
	case err == nil && h.Want != nil:
		return fmt.Errorf("no error, want %w", h.Want)
	case !errors.Is(err, h.Want):
		return fmt.Errorf("error is %w, want %w", err, h.Want)
	case err != nil && !strings.Contains(err.Error(), h.Says):
		return fmt.Errorf("error does not say %q: %w", h.Says, err)
	}
	return nil
}

// Streamed is what must be said of the file where it comes in order only.
func (h Hostile) Streamed() Hostile {
	if h.StreamSays != "" {
		h.Says = h.StreamSays
	}
	return h
}

// hostiles are the lists. What is named like the key, or begins so with a space behind, is of that list.
var hostiles = []struct {
	format string
	list   func() []Hostile
}{
	{"qcow2", QCOW2Hostiles}, {"vmdk", VMDKHostiles}, {"vdi", VDIHostiles}, {"vhd", VHDHostiles}, {"vhdx", VHDXHostiles},
	{"tar", TarHostiles}, {"ova", OVAHostiles},
	{"gz", func() []Hostile { return codec("gz", gzipLies()) }}, {"xz", func() []Hostile { return codec("xz", xzLies()) }},
	{"zst", func() []Hostile { return codec("zst", zstdLies()) }}, {"bz2", func() []Hostile { return codec("bz2", bzip2Lies()) }},
}

// Hostiles are the files of all formats and codecs.
func Hostiles() []Hostile {
	var all []Hostile
	for _, h := range hostiles {
		all = append(all, h.list()...)
	}
	return all
}

// HostileByName is one of them; only the list that has it is made.
func HostileByName(name string) (Hostile, error) {
	format, _, _ := strings.Cut(name, ":")
	format, _, _ = strings.Cut(format, " ")
	for _, h := range hostiles {
		if h.format != format {
			continue
		}
		for _, f := range h.list() {
			if f.String() == name {
				return f, nil
			}
		}
	}
	return Hostile{}, fmt.Errorf("no hostile file %q", name)
}

// A lie turns a good file into a hostile one.
type lie[T any] struct {
	name string
	tell func(T) T
	want error
	says string
}

// lies makes the list of a format; parts takes a crafted file apart. plain names those that are none of the kind.
func lies[T any](format string, craft func() T, parts func(T) (file, disk []byte), table []lie[T], plain ...string) []Hostile {
	all := make([]Hostile, len(table))
	for i, l := range table {
		all[i] = Hostile{Format: format, Name: l.name, Want: l.want, Says: l.says, Plain: slices.Contains(plain, l.name),
			Make: func() ([]byte, []byte) { return parts(l.tell(craft())) }}
	}
	for _, name := range plain {
		if !slices.ContainsFunc(table, func(l lie[T]) bool { return l.name == name }) {
			panic(fmt.Sprintf("%s: no lie %q", format, name))
		}
	}
	return all
}
