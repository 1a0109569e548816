package content

import (
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"strings"
	"unicode/utf16"
)

const (
	gptMagic  = "EFI PART"
	gptHeader = 92 // bytes of it that mean something
	gptEntry  = 128

	// maxEntries bounds what is read of the entries. Tools make 16 KiB.
	maxEntries = 128 << 10
)

// A gptHead is a header: UEFI 2.10 §5.3.2.
type gptHead struct {
	sector        int64
	at            int64  // where it was read
	other         uint64 // block of the other one
	id            string
	entries       uint64 // block of the entries
	count, length uint32
	crc           uint32 // of the entries
}

// parseGPT reads a header out of the sector b, which lies at at. found says that there is one, even if it is wrong.
func parseGPT(b []byte, at, sector int64) (h gptHead, found bool, err error) {
	if len(b) < gptHeader || string(b[:8]) != gptMagic {
		return h, false, nil
	}
	n := le.Uint32(b[12:])
	if n < gptHeader || int64(n) > int64(len(b)) {
		return h, true, fmt.Errorf("its length is %d, not %d to %d", n, gptHeader, len(b))
	}
	sum := slices.Clone(b[:n])
	clear(sum[16:20])
	if is, want := crc32.ChecksumIEEE(sum), le.Uint32(b[16:]); is != want {
		return h, true, fmt.Errorf("its CRC is %#08x, it says %#08x", is, want)
	}
	if lba := le.Uint64(b[24:]); lba != uint64(at/sector) {
		return h, true, fmt.Errorf("it says that it is block %d, and is block %d", lba, at/sector)
	}
	return gptHead{
		sector: sector, at: at, other: le.Uint64(b[32:]), id: guid(b[56:]),
		entries: le.Uint64(b[72:]), count: le.Uint32(b[80:]), length: le.Uint32(b[84:]), crc: le.Uint32(b[88:]),
	}, true, nil
}

// gpt finds a GPT by its header in the second sector, of 512 or 4096 bytes, or where the MBR says that there is one by
// that in the last.
func (d *disk) gpt(whole *volume, entries []mbrEntry) *Table {
	said := slices.ContainsFunc(entries, func(e mbrEntry) bool { return e.used() && e.kind == protective })
	sectors := []int64{512, 4096}
	first, found, wrong := gptHead{}, false, error(nil)
	for _, sector := range sectors {
		if first, found, wrong = parseGPT(whole.at(sector, sector), sector, sector); found {
			sectors = []int64{sector}
			break
		}
	}
	switch {
	case !found && !said:
		return nil // the last sector alone is what an older use of the disk has left
	case !said && entries != nil:
		d.problem("there is a GPT header, too, but the MBR has no entry for it: the MBR is told") // an ISO for many kinds of firmware
		return nil
	case !said:
		d.problem("no MBR says that there is a GPT")
	case !found:
		d.problem("the MBR says that there is a GPT, and there is no header of one")
	}
	if wrong != nil {
		d.problem("GPT header at %d: %v", sectors[0], wrong)
	}
	if found && wrong == nil {
		t, err := d.gptTable(first)
		d.backup(first)
		if err != nil {
			d.problem("%v", err)
			if second, ok := d.last(sectors); ok {
				if u, err := d.gptTable(second); err == nil {
					d.problem("the backup at the end of the disk is told")
					t = u
				}
			}
		}
		return t.mixed(entries)
	}
	if second, ok := d.last(sectors); ok {
		d.problem("the backup at the end of the disk is told")
		t, err := d.gptTable(second)
		if err != nil {
			d.problem("%v", err)
		}
		return t.mixed(entries)
	}
	return &Table{Type: "gpt", SectorSize: sectors[0], Partitions: []Partition{}}
}

// last is the header in the last sector of the disk.
func (d *disk) last(sectors []int64) (gptHead, bool) {
	for _, sector := range sectors {
		if d.size < 2*sector {
			continue
		}
		at := (d.size/sector - 1) * sector
		if h, found, err := parseGPT(d.readOr("the last sector", at, sector), at, sector); found && err == nil {
			return h, true
		}
	}
	return gptHead{}, false
}

// backup says where the second header is not: firmware looks for it in the last sector, and a disk that was made larger has it
// elsewhere.
func (d *disk) backup(first gptHead) {
	if d.size < 0 || d.partial {
		return
	}
	if _, ok := d.last([]int64{first.sector}); ok || d.partial {
		return
	}
	at := uint64(d.size/first.sector - 1)
	switch {
	case first.other < at:
		d.problem("no backup of the GPT at the end of the disk (it is said to be in block %d, the last is %d): the disk was made larger", first.other, at)
	case first.other > at:
		d.problem("no backup of the GPT at the end of the disk (it is said to be in block %d, the last is %d): the disk was cut", first.other, at)
	default:
		d.problem("no backup of the GPT at the end of the disk, where it is said to be")
	}
}

// gptTable reads the entries. What the error is of, the table has as far as it could be read.
func (d *disk) gptTable(h gptHead) (*Table, error) {
	t := &Table{Type: "gpt", ID: h.id, SectorSize: h.sector, Partitions: []Partition{}}
	total := uint64(h.count) * uint64(h.length) // of 32 bits each
	switch {
	case h.length < gptEntry || h.length > 4096 || h.length&(h.length-1) != 0: // §5.3.2: 128 × 2^n
		return t, fmt.Errorf("GPT header at %d: entries of %d bytes", h.at, h.length)
	case h.entries > uint64(math.MaxInt64/h.sector)-1:
		return t, fmt.Errorf("GPT header at %d: entries in block %d", h.at, h.entries)
	}
	at, n := int64(h.entries)*h.sector, int64(min(total, maxEntries))
	b, err := d.read(at, n)
	switch {
	case err != nil:
		return t, fmt.Errorf("GPT entries at %d: %w", at, err)
	case total > maxEntries:
		d.problem("GPT entries at %d: %d of %d bytes each, of which %d bytes are looked at", at, h.count, h.length, maxEntries)
	case int64(len(b)) < n:
		err = fmt.Errorf("GPT entries at %d: %d bytes, only %d are known", at, n, len(b))
	default:
		if is := crc32.ChecksumIEEE(b); is != h.crc {
			err = fmt.Errorf("GPT entries at %d: their CRC is %#08x, the header says %#08x", at, is, h.crc)
		}
	}
	for i := 0; len(b) >= int(h.length); i, b = i+1, b[h.length:] {
		d.gptEntry(t, i+1, b[:gptEntry])
	}
	return t, err
}

// gptEntry is UEFI 2.10 §5.3.3.
func (d *disk) gptEntry(t *Table, number int, b []byte) {
	if zeros(b[:16]) {
		return // not used
	}
	kind, first, last := guid(b), le.Uint64(b[32:]), le.Uint64(b[40:])
	p := Partition{
		Number: number, Type: kind, TypeName: gptTypes[kind], Name: utf16Text(b[56:128]), ID: guid(b[16:]),
		Bootable: b[48]&4 != 0, // legacy BIOS bootable
	}
	if last < first || last > uint64(math.MaxInt64/t.SectorSize)-1 {
		d.problem("partition %d has the blocks %d to %d", number, first, last)
		return
	}
	p.Start, p.Size = int64(first)*t.SectorSize, int64(last-first+1)*t.SectorSize
	t.add(p)
}

// mixed says whether the MBR has partitions beside the protective one.
func (t *Table) mixed(entries []mbrEntry) *Table {
	t.Hybrid = slices.ContainsFunc(entries, func(e mbrEntry) bool { return e.used() && e.kind != protective })
	return t
}

// guid is a GUID as text: UEFI 2.10, appendix A.
func guid(b []byte) string {
	return fmt.Sprintf("%08X-%04X-%04X-%X-%X", le.Uint32(b), le.Uint16(b[4:]), le.Uint16(b[6:]), b[8:10], b[10:16])
}

// utf16Text is little-endian text up to its first zero.
func utf16Text(b []byte) string {
	var units []uint16
	for ; len(b) >= 2; b = b[2:] {
		u := le.Uint16(b)
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}

// text is bytes up to the first zero, without spaces at its end, as UTF-8.
func text(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return strings.ToValidUTF8(strings.TrimRight(s, " "), "\ufffd")
}
