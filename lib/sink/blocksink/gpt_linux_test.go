package blocksink

import (
	"encoding/binary"
	"hash/crc32"
)

// gpt returns a disk of size bytes with a protective MBR, a GPT with one partition from the second MiB on, and its
// backup at the end (UEFI 2.10, 5.3).
func gpt(size, sector int64) []byte {
	b := make([]byte, size)
	last := size/sector - 1
	table := 128 * 128 / sector // sectors
	le := binary.LittleEndian

	copy(b[510:], "\x55\xaa")
	b[450] = 0xee
	le.PutUint32(b[454:], 1)
	le.PutUint32(b[458:], uint32(last))

	entries := make([]byte, 128*128)
	copy(entries, "\xaf\x3d\xc6\x0f\x83\x84\x72\x47\x8e\x79\x3d\x69\xd8\x47\x7d\xe4") // Linux filesystem
	copy(entries[16:], "one partition...")
	le.PutUint64(entries[32:], uint64(heldBytes/sector))
	le.PutUint64(entries[40:], uint64((heldBytes+size/2)/sector-1))

	header := func(at, other, tableAt int64) {
		h := make([]byte, 92)
		copy(h, "EFI PART\x00\x00\x01\x00")
		le.PutUint32(h[12:], 92)
		le.PutUint64(h[24:], uint64(at))
		le.PutUint64(h[32:], uint64(other))
		le.PutUint64(h[40:], uint64(2+table))
		le.PutUint64(h[48:], uint64(last-table-1))
		copy(h[56:], "the whole disk..")
		le.PutUint64(h[72:], uint64(tableAt))
		le.PutUint32(h[80:], 128)
		le.PutUint32(h[84:], 128)
		le.PutUint32(h[88:], crc32.ChecksumIEEE(entries))
		le.PutUint32(h[16:], crc32.ChecksumIEEE(h))
		copy(b[at*sector:], h)
		copy(b[tableAt*sector:], entries)
	}
	header(1, last, 2)
	header(last, 1, last-table)
	return b
}
