package blocksink

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cdictl/cdictl/lib/internal/bufpool"
)

// A signature is what some content is recognised by: magic bytes at an offset.
type signature struct {
	name  string
	off   int64
	magic string
}

// signatures of what people would miss. The order is that of telling: most exact first, as a filesystem may carry the
// mark of a boot sector, and a partition table stands for the filesystems in it.
var signatures = []signature{
	{"a GPT partition table", 512, "EFI PART"},
	{"a GPT partition table", 4096, "EFI PART"},
	{"a LUKS volume", 0, "LUKS\xba\xbe"},
	{"an LVM physical volume", 0, "LABELONE"},
	{"an LVM physical volume", 512, "LABELONE"},
	{"an LVM physical volume", 1024, "LABELONE"},
	{"an LVM physical volume", 1536, "LABELONE"},
	{"an LVM physical volume", 4096, "LABELONE"},
	{"an XFS filesystem", 0, "XFSB"},
	{"a btrfs filesystem", 64<<10 + 64, "_BHRfS_M"},
	{"an ext filesystem", 1024 + 56, "\x53\xef"},
	{"an f2fs filesystem", 1024, "\x10\x20\xf5\xf2"},
	{"an NTFS filesystem", 3, "NTFS    "},
	{"an ISO 9660 filesystem", 32<<10 + 1, "CD001"},
	{"a member of an MD RAID", 0, "\xfc\x4e\x2b\xa9"},
	{"a member of an MD RAID", 4096, "\xfc\x4e\x2b\xa9"},
	{"swap space", 4<<10 - 10, "SWAPSPACE2"},
	{"swap space", 8<<10 - 10, "SWAPSPACE2"},
	{"swap space", 16<<10 - 10, "SWAPSPACE2"},
	{"swap space", 64<<10 - 10, "SWAPSPACE2"},
	{"swap space", 4<<10 - 10, "SWAP-SPACE"},
	{"a boot sector or MBR partition table", 510, "\x55\xaa"},
}

// headBytes has all of them.
const headBytes = 64<<10 + 4096

// recognise names what a device of size bytes holds, "" if nothing is known. It reads whole sectors.
func recognise(ra io.ReaderAt, size, sector int64) (string, error) {
	head, err := read(ra, 0, min(roundUp(headBytes, sector), size))
	if err != nil {
		return "", err
	}
	for _, s := range signatures {
		if int64(len(head)) > s.off && bytes.HasPrefix(head[s.off:], []byte(s.magic)) {
			return s.name, nil
		}
	}
	if size < 2*heldBytes {
		return "", nil
	}
	// The backup of a GPT is in the last sector, superblocks of RAID members somewhat before.
	const tailBytes = 128 << 10
	tail, err := read(ra, size-tailBytes, tailBytes)
	if err != nil {
		return "", err
	}
	at := func(off int64) []byte { return tail[off-(size-tailBytes):] }
	md := []byte("\xfc\x4e\x2b\xa9")
	switch {
	case bytes.HasPrefix(at(size-sector), []byte("EFI PART")):
		return "the backup of a GPT partition table", nil
	case bytes.HasPrefix(at(size&^(64<<10-1)-64<<10), md): // version 0.90
		return "a member of an MD RAID", nil
	case bytes.HasPrefix(at((size-8<<10)&^4095), md) && binary.LittleEndian.Uint32(at((size - 8<<10) &^ 4095)[4:]) == 1: // version 1.0
		return "a member of an MD RAID", nil
	}
	return "", nil
}

func read(ra io.ReaderAt, off, n int64) ([]byte, error) {
	p := bufpool.Make(int(n)) // reads are direct
	if m, err := ra.ReadAt(p, off); m < len(p) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read %d bytes at %d: %w", n, off, err)
	}
	return p, nil
}
