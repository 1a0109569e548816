package vhd

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
)

// footer makes a valid footer of a fixed disk of size bytes, lets edit change it, and sums it.
func footer(size uint64, edit func(b []byte)) []byte {
	b := make([]byte, FooterSize)
	copy(b, Cookie)
	binary.BigEndian.PutUint32(b[8:], 2)
	binary.BigEndian.PutUint16(b[offVersion:], 1)
	binary.BigEndian.PutUint64(b[16:], 1<<64-1)
	copy(b[offCreator:], "win ")
	binary.BigEndian.PutUint64(b[40:], size)
	binary.BigEndian.PutUint64(b[offCurrentSize:], size)
	binary.BigEndian.PutUint32(b[offType:], uint32(Fixed))
	if edit != nil {
		edit(b)
	}
	binary.BigEndian.PutUint32(b[offChecksum:], Checksum(b))
	return b
}

func chs(c uint16, h, s byte) func([]byte) {
	return func(b []byte) {
		binary.BigEndian.PutUint16(b[offCylinders:], c)
		b[offHeads], b[offSectors] = h, s
	}
}

func by(creator string, more func([]byte)) func([]byte) {
	return func(b []byte) {
		copy(b[offCreator:offCreator+4], creator)
		if more != nil {
			more(b)
		}
	}
}

func TestParse(t *testing.T) {
	const size = 1 << 20
	tests := []struct {
		name   string
		tail   []byte
		stored int64
		want   int64
		err    error
	}{
		{"current size", footer(size, chs(10, 4, 17)), size + 512, size, nil},
		{"unknown creator: current size", footer(size, by("vbox", chs(10, 4, 17))), size + 512, size, nil},
		{"Azure", footer(size, by("wa\x00\x00", chs(10, 4, 17))), size + 512, size, nil},
		{"Virtual PC: geometry", footer(size, by("vpc ", chs(30, 4, 17))), size + 512, 30 * 4 * 17 * 512, nil},
		{"old qemu: geometry", footer(size, by("qemu", chs(30, 4, 17))), size + 512, 30 * 4 * 17 * 512, nil},
		{"largest geometry says nothing", footer(200<<30, by("vpc ", chs(65535, 16, 255))), 200<<30 + 512, 200 << 30, nil},
		{"no whole sectors", footer(size+100, nil), size + 612, size, nil},
		{"empty", footer(0, nil), 512, 0, nil},
		{"geometry beyond the file", footer(size, by("vpc ", chs(1000, 16, 63))), size + 512, 0, errdef.ErrCorrupt},
		{"file cut in the middle", footer(size, nil), size/2 + 512, 0, errdef.ErrCorrupt},
		{"file longer than told", footer(size, nil), size + 1024, 0, errdef.ErrCorrupt},
		{"size beyond int64", footer(1<<63+5, nil), size + 512, 0, errdef.ErrCorrupt},
		{"checksum", append(footer(size, nil)[:511], 1), size + 512, 0, errdef.ErrCorrupt},
		{"cookie", footer(size, func(b []byte) { b[0] = 'C' }), size + 512, 0, errdef.ErrCorrupt},
		{"short", footer(size, nil)[:511], size + 512, 0, errdef.ErrCorrupt},
		{"stored less than a footer", footer(size, nil), 100, 0, errdef.ErrCorrupt},
		{"dynamic", footer(size, func(b []byte) { b[offType+3] = 3 }), size + 512, 0, errdef.ErrUnsupported},
		{"differencing", footer(size, func(b []byte) { b[offType+3] = 4 }), size + 512, 0, errdef.ErrUnsupported},
		{"version 2", footer(size, func(b []byte) { b[offVersion+1] = 2 }), size + 512, 0, errdef.ErrUnsupported},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := Parse(tt.tail, tt.stored)
			if !errors.Is(err, tt.err) || (err != nil) != (tt.err != nil) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if f.VirtualSize != tt.want {
				t.Errorf("virtual size %d, want %d", f.VirtualSize, tt.want)
			}
		})
	}
}

func TestPeek(t *testing.T) {
	if typ, ok := Peek(footer(0, nil)); !ok || typ != Fixed {
		t.Errorf("Peek = %v, %v", typ, ok)
	}
	for _, b := range [][]byte{nil, []byte(Cookie), make([]byte, 512)} {
		if _, ok := Peek(b); ok {
			t.Errorf("Peek(%d bytes) is ok", len(b))
		}
	}
	for typ, want := range map[Type]string{Fixed: "fixed", Dynamic: "dynamic", Differencing: "differencing", 9: "type 9"} {
		if typ.String() != want {
			t.Errorf("Type(%d) = %q", uint32(typ), typ)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(footer(1<<20, nil), int64(1<<20+512))
	f.Add(footer(1<<20, by("qemu", chs(30, 4, 17))), int64(1<<20+512))
	f.Add(footer(1<<20, by("vpc ", chs(65535, 16, 255))), int64(1<<20+512))
	f.Add([]byte(Cookie), int64(0))
	f.Fuzz(func(t *testing.T, tail []byte, stored int64) {
		if len(tail) == FooterSize { // else the fuzzer would spend its time on the checksum
			binary.BigEndian.PutUint32(tail[offChecksum:], Checksum(tail))
		}
		ft, err := Parse(tail, stored)
		switch {
		case err != nil && !errors.Is(err, errdef.ErrCorrupt) && !errors.Is(err, errdef.ErrUnsupported):
			t.Errorf("error of no class: %v", err)
		case err == nil && (ft.VirtualSize < 0 || ft.VirtualSize > stored-FooterSize || ft.VirtualSize%sector != 0):
			t.Errorf("virtual size %d of %d stored bytes", ft.VirtualSize, stored)
		}
	})
}
