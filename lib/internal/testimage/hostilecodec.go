package testimage

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"io"
	"slices"

	"github.com/cdictl/cdictl/lib/errdef"
)

// What the small files of all codecs hold.
const codecContent = "a disk, stored small"

// Files of codecs that no library of ours writes, as bzip2 and xz wrote them.
const (
	bz2Small = "425a68393141592653592a94d84600000211804004262e9c0020003100d0010343487a92061d27a7d9c9496b57c5dc914e14240aa5361180"
	xzSmall  = "fd377a585a0000016922de360200210108000000d80f231301001361206469736b2c2073746f72656420736d616c6c007bb4261300012814fccf01679042990d010000000001595a"
	// 45,000,000 times A.
	bz2Bomb = "425a6839314159265359ff5952510158ab0420a00010000008200030cc0529a65248526c5492149e2ee48a70a121feb2a4a2"
	// 64 MiB of A in gzip, in base64.
	xzBomb = "H4sIAAAAAAACA/trXhURxcDAmKl0z4yJQZFRgIGBYUVBX9v//4KMObEMCu9/7/+3eGPc0x/2m1aphf7IKHAsEOXv/SvnI93ltF3yS6ZE4bo05a" +
		"4uX/3FvDfrlz3uURYMfhApcbS061H5j21T6nmyDtwr8Ux59DImeBPLje8uPKvjeXPdXj49XNaxfVr4mm2+DzNl8397dwjkOJ3usI9h6L/gt15N" +
		"Y0qhvG2/ysOCecuV499onG69OHVGV53WxE/qpd8lD7DN8J3x98b6qxP4j6gG//g60cyQdemGd/kHC3zdeS5OFFy1NkF217mN6hIxkW0v04Ii9r" +
		"0sWxP55Gk0K8fP47fW/vkdpF1yVi5awenn3WDbH5opnNYNp7Vy7m+1/nBkr178Kn477zSnCcJ8/wUm/yisiPzBffb/VA03/pV/au79nmWgF3ag" +
		"v/Vzc+OBVCpbvcdD/VnE/P8CjNoMb4qDl//dt67GUGr+9l7DvJETBqRZHchvv2k0wEYDbDTARgNsNMBGA2w0wEYDbDTARgNsNMBGA2w0wEYDbD" +
		"TARgNsNMBGA2w0wEYDbDTARgNsNMBGA2w0wEYDbDTARgNsNMBGA2w0wEYDbDTARgNsNMAGKsAaZO8xsDG8fng+Up2BgeHozc3fGRj/+zQ0NCgk" +
		"3hfeZmfA280EFGdgjIwCADvRElWkJgAA"
)

// A codecLie is a stored file with a lie in it.
type codecLie struct {
	name string
	file func() []byte
	want error
	says string
}

// CodecHostiles are compressed files that lie. What they hold otherwise is codecContent, or the letter A over and over.
func CodecHostiles() []Hostile {
	var all []Hostile
	for _, h := range hostiles {
		switch h.format {
		case "gz", "xz", "zst", "bz2":
			all = append(all, h.list()...)
		}
	}
	return all
}

func codec(format string, table []codecLie) []Hostile {
	all := make([]Hostile, len(table))
	for i, l := range table {
		all[i] = Hostile{Format: format, Name: l.name, Want: l.want, Says: l.says,
			Make: func() ([]byte, []byte) { return l.file(), []byte(codecContent) }}
		if l.name == "bomb" {
			all[i].Expansion = 2000
			if format == "gz" { // deflate cannot expand by more than 1,032
				all[i].Expansion = 100
			}
		}
	}
	return all
}

// put is b with other bytes at an offset, from the end if that is negative.
func put(b []byte, at int, with ...byte) func() []byte {
	return func() []byte {
		b := bytes.Clone(b)
		if at < 0 {
			at += len(b)
		}
		copy(b[at:], with)
		return b
	}
}

// parts are joined.
func parts(b ...[]byte) func() []byte { return func() []byte { return slices.Concat(b...) } }

// u16, u32 and u64 are numbers as all codecs but bzip2 write them.
func u16(n uint16) []byte { return binary.LittleEndian.AppendUint16(nil, n) }
func u32(n uint32) []byte { return binary.LittleEndian.AppendUint32(nil, n) }
func u64(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func gz(content []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(content)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err)
	}
	return b.Bytes()
}

func gzipLies() []codecLie {
	bad := errdef.ErrCorrupt
	good := gz([]byte(codecContent))
	head := func(flags byte) []byte { return []byte{0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 0xff} }
	deflated := func(b ...byte) func() []byte { return parts(head(0), b, make([]byte, 8)) }
	return []codecLie{
		{"good", parts(good), nil, ""},
		{"reserved flags", put(good, 3, 0xe0), errdef.ErrUnsupported, "header has flags of a later version: 0xe0"},
		{"cut in the header", parts(good[:7]), bad, "byte 7, output byte 0: content ends early"},
		{"cut in the data", parts(good[:15]), bad, "byte 15, output byte 0: content ends early"},
		{"cut in the checksum", parts(good[:len(good)-6]), bad, "output byte 20: content ends early"},
		{"checksum", put(good, -8, 1, 2, 3, 4), bad, "checksum of a member is 04030201, its content has"},
		{"length", put(good, -4, 0xff, 0xff, 0xff, 0xff), bad, "length of a member is 4294967295, its content has 20"},
		{"checksum of the header", parts(head(2), []byte{1, 2}, good[10:]), bad, "checksum of a header is 0201, its bytes have"},
		{"extra field past the end", parts(head(4), u16(0xffff), good[10:]), bad, "content ends early"},
		{"name without an end", parts(head(8), bytes.Repeat([]byte("n"), 8<<20)), bad, "stored byte 8388618, output byte 0: content ends early"},
		{"block of kind 3", deflated(7), bad, "near stored byte 11, output byte 0: a deflate block is invalid"},
		{"stored block whose length is no length", deflated(1, 5, 0, 5, 0), bad, "near stored byte 15, output byte 0: a deflate block is invalid"},
		{"distance before the start", deflated(0x4b, 0x04, 0x12, 0), bad, "near stored byte 13, output byte 1: a deflate block is invalid"},
		{"more than 286 symbols", deflated(0xfd, 0xff, 0xff, 0xff), bad, "near stored byte 13, output byte 0: a deflate block is invalid"},
		{"rubbish behind", parts(good, []byte("rubbish")), bad, "something that is not compressed content follows the end"},
		{"second member cut", parts(good, good[:12]), bad, "content ends early"},
		{"bomb", func() []byte { return bytes.Repeat(gz(bytes.Repeat([]byte("A"), 16<<20)), 16) }, errdef.ErrLimit, "above the limit of 100 for one"},
	}
}

func xzLies() []codecLie {
	bad, big := errdef.ErrCorrupt, errdef.ErrLimit
	good := unhex(xzSmall)
	// header gives the block's header other bytes, with their right checksum.
	header := func(at int, with ...byte) func() []byte {
		return func() []byte {
			b := put(good, 12+at, with...)()
			copy(b[20:], u32(crc32.ChecksumIEEE(b[12:20])))
			return b
		}
	}
	// stream gives both the stream's header and its footer other flags.
	stream := func(flags ...byte) func() []byte {
		return func() []byte {
			b := put(good, 6, flags...)()
			copy(b[8:], u32(crc32.ChecksumIEEE(b[6:8])))
			copy(b[len(b)-4:], flags)
			copy(b[len(b)-12:], u32(crc32.ChecksumIEEE(b[len(b)-8:len(b)-2])))
			return b
		}
	}
	at := len(good) - 20 // the index: 0, number of records, their sizes, checksum
	index := func(with ...byte) func() []byte {
		return func() []byte {
			b := put(good, at, with...)()
			copy(b[at+4:], u32(crc32.ChecksumIEEE(b[at:at+4])))
			return b
		}
	}
	return []codecLie{
		{"good", parts(good), nil, ""},
		{"dictionary of 4 GiB", header(4, 40), big, "4294967295 bytes, above the limit"},
		{"dictionary of 1.5 GiB", header(4, 37), big, "1610612736 bytes, above the limit"},
		{"dictionary of a later block", func() []byte { return slices.Concat(good, header(4, 37)()) }, big, "dictionary of a later block is above the limit of 134217728"},
		{"dictionary of code 41", header(4, 41), errdef.ErrUnsupported, "a filter or an option of a later version"},
		{"filter 0x22", header(2, 0x22), errdef.ErrUnsupported, "a filter or an option of a later version"},
		{"filter of 2^63", header(2, 0xff, 0xff, 0xff, 0xff), errdef.ErrUnsupported, "a filter or an option of a later version"},
		{"reserved bits of the block", header(1, 0x3c), errdef.ErrUnsupported, "a filter or an option of a later version"},
		{"sizes in the block that are none", header(1, 0xc0), errdef.ErrUnsupported, "a filter or an option of a later version"},
		{"header of 1024 bytes", put(good, 12, 0xff), bad, "content ends early"},
		{"checksum of the block's header", put(good, 20, 1, 2, 3, 4), bad, "checksum wrong"},
		{"check of an unknown kind", stream(0, 15), errdef.ErrUnsupported, "integrity check is none of CRC32"},
		{"reserved flags", stream(1, 1), errdef.ErrUnsupported, "a filter or an option of a later version"},
		{"checksum of the stream's header", put(good, 8, 1, 2, 3, 4), bad, "checksum wrong"},
		{"LZMA2 chunk of no kind", put(good, 24, 0x7f), bad, "content is damaged"},
		{"chunk longer than the block", put(good, 25, 0xff, 0xff), bad, "content ends early"},
		{"content checksum", put(good, at-4, 1, 2, 3, 4), bad, "output byte 20: content is damaged, or its checksum wrong"},
		{"index of other sizes", index(0, 1, 0x29, 0x14), bad, "content is damaged"},
		{"index of 127 records", index(0, 0x7f), bad, "content is damaged"},
		{"index size of 16 GiB", func() []byte {
			b := put(good, -8, 0xff, 0xff, 0xff, 0xff)()
			copy(b[len(b)-12:], u32(crc32.ChecksumIEEE(b[len(b)-8:len(b)-2])))
			return b
		}, bad, "content is damaged"},
		{"footer without magic", put(good, -2, 0, 0), bad, "content is damaged"},
		{"cut in the data", parts(good[:30]), bad, "byte 30, output byte 3: content ends early"},
		{"cut in the index", parts(good[:at+2]), bad, "content ends early"},
		{"padding of 3 bytes", parts(good, make([]byte, 3)), bad, "content is damaged"},
		{"rubbish behind", parts(good, []byte("rubbish!")), bad, "content ends early"},
		{"bomb", func() []byte {
			r, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, bytes.NewReader([]byte(xzBomb))))
			if err != nil {
				panic(err)
			}
			b, err := io.ReadAll(r)
			if err != nil {
				panic(err)
			}
			return bytes.Repeat(b, 16)
		}, big, "above the limit of 2000 for one"},
	}
}

func zstdLies() []codecLie {
	bad, big := errdef.ErrCorrupt, errdef.ErrLimit
	frame := func(b ...[]byte) func() []byte { return parts([]byte{0x28, 0xb5, 0x2f, 0xfd}, slices.Concat(b...)) }
	// A block: kind 0 is stored, 1 one byte over and over, 2 compressed, 3 nothing.
	block := func(last, kind, size uint32, content ...byte) []byte {
		return append(u32(last | kind<<1 | size<<3)[:3], content...)
	}
	last := block(1, 0, uint32(len(codecContent)), []byte(codecContent)...)
	window := []byte{0, 0x58} // 2 MiB
	good := frame(window, last)
	return []codecLie{
		{"good", good, nil, ""},
		{"window of 2 GiB", frame([]byte{0, 0xa8}, last), big, "2147483648 bytes, above the limit"},
		{"window of 3.75 TiB", frame([]byte{0, 0xff}, last), big, "above the limit"},
		{"window of a later frame", func() []byte { return slices.Concat(good(), frame([]byte{0, 0xa8}, last)()) }, big, "window of a frame is 2147483648 bytes, above the limit of 134217728"},
		{"one segment of a TiB", frame([]byte{0xe0}, u64(1<<40), last), big, "content in one segment is 1099511627776 bytes, above the limit"},
		{"one segment of 2^64-1", frame([]byte{0xe0}, u64(1<<64-1), last), big, "content in one segment is 18446744073709551615 bytes, above the limit"},
		{"content size that is wrong", frame([]byte{0x20, 5}, last), bad, "frame size exceeded"},
		{"reserved bit", frame([]byte{8, 0x58}, last), bad, "reserved bit set on frame header"},
		{"dictionary", frame([]byte{1, 0x58, 77}, last), errdef.ErrUnsupported, "content needs a dictionary"},
		{"block of kind 3", frame(window, block(1, 3, 5)), bad, "reserved block type"},
		{"block of 2 MiB", frame(window, block(1, 1, 2<<20-1, 'A')), big, "block of a frame is above the limit"},
		{"block past the end", frame(window, block(1, 0, 100, 'A')), bad, "content ends early"},
		{"compressed block of rubbish", frame(window, block(1, 2, 4, 0xff, 0xff, 0xff, 0xff)), bad, "block too small"},
		{"no last block", frame(window, block(0, 1, 10, 'A')), bad, "output byte 10: content ends early"},
		{"checksum", frame([]byte{4, 0x58}, last, []byte{1, 2, 3, 4}), bad, "checksum of a frame is wrong"},
		{"skippable frame of 4 GiB", func() []byte { return slices.Concat(good(), []byte{0x50, 0x2a, 0x4d, 0x18}, u32(1<<32-1)) }, bad, "content ends early"},
		{"cut in the header", frame([]byte{0}), bad, "content ends early"},
		{"rubbish behind", func() []byte { return append(good(), "rubbish"...) }, bad, "something that is not compressed content follows the end"},
		{"bomb", func() []byte { return frame(window, bytes.Repeat(block(0, 1, 128<<10, 'A'), 8192))() }, big, "above the limit of 2000 for one"},
	}
}

func bzip2Lies() []codecLie {
	bad := errdef.ErrCorrupt
	good := unhex(bz2Small)
	return []codecLie{
		{"good", parts(good), nil, ""},
		{"block's checksum", put(good, 10, 1, 2, 3, 4), bad, "checksum of a block is wrong"},
		{"randomised", put(good, 14, 0x80), errdef.ErrUnsupported, "block is randomized"},
		{"start far behind the block", put(good, 14, 0x7f, 0xff, 0xff), bad, "origin of a block lies outside"},
		{"no symbols", put(good, 17, 0, 0, 0, 0), bad, "block uses no symbols"},
		{"tables of rubbish", put(good, 24, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), bad, "number of Huffman tables or selectors is wrong"},
		{"magic of no block", put(good, 20+20, 0, 0, 0, 0), bad, "content ends early"},
		{"checksum of the whole", put(good, -3, 0, 0), bad, "checksum of a stream is wrong"},
		{"cut in the block", parts(good[:30]), bad, "byte 30, output byte 0: content ends early"},
		{"cut in the end", parts(good[:len(good)-2]), bad, "output byte 20: content ends early"},
		{"rubbish behind", parts(good, []byte("rubbish")), bad, "something that is not compressed content follows the end"},
		{"second stream cut", parts(good, good[:20]), bad, "output byte 20: content ends early"},
		{"bomb", func() []byte { return bytes.Repeat(unhex(bz2Bomb), 40) }, errdef.ErrLimit, "above the limit of 2000 for one"},
	}
}
