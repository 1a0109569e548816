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

	var use gptCopy
	if found && wrong == nil {
		if use = d.load(first); use.err == nil {
			d.backup(first)
		}
	}
	if use.head.sector == 0 || use.err != nil {
		use = d.second(use, sectors)
	}
	t := use.table(d, sectors[0])
	// What the MBR has beside the protective entry.
	t.Hybrid = slices.ContainsFunc(entries, func(e mbrEntry) bool { return e.used() && e.kind != protective })
	return t
}

// second is the copy at the end of the disk, if it is better than the first.
func (d *disk) second(first gptCopy, sectors []int64) gptCopy {
	if first.err != nil {
		d.problem("%v", first.err)
	}
	h, ok := d.last(sectors)
	if !ok {
		return first
	}
	c := d.load(h)
	if c.err != nil && first.head.sector != 0 {
		return first
	}
	d.problem("the backup at the end of the disk is told")
	if c.err != nil {
		d.problem("%v", c.err)
	}
	return c
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

// A gptCopy is a header, its entries as far as they could be read, and what is wrong with them.
type gptCopy struct {
	head    gptHead
	entries []byte
	err     error
}

// load reads the entries of h.
func (d *disk) load(h gptHead) gptCopy {
	c := gptCopy{head: h}
	switch {
	case h.length < gptEntry || h.length > 4096 || h.length&(h.length-1) != 0: // §5.3.2: 128 × 2^n
		c.err = fmt.Errorf("GPT header at %d: entries of %d bytes", h.at, h.length)
		return c
	case h.entries > uint64(math.MaxInt64/h.sector)-1:
		c.err = fmt.Errorf("GPT header at %d: entries in block %d", h.at, h.entries)
		return c
	}
	total := uint64(h.count) * uint64(h.length) // of 32 bits each
	at, n := int64(h.entries)*h.sector, int64(min(total, maxEntries))
	var err error
	c.entries, err = d.read(at, n)
	switch {
	case err != nil:
		c.err = fmt.Errorf("GPT entries at %d: %w", at, err)
	case int64(len(c.entries)) < n:
		c.err = fmt.Errorf("GPT entries at %d: %d bytes, only %d are known", at, n, len(c.entries))
	case total > maxEntries:
		d.problem("GPT entries at %d: %d of %d bytes each, of which %d bytes are looked at", at, h.count, h.length, maxEntries)
	default:
		if is := crc32.ChecksumIEEE(c.entries); is != h.crc {
			c.err = fmt.Errorf("GPT entries at %d: their CRC is %#08x, the header says %#08x", at, is, h.crc)
		}
	}
	return c
}

// table lists the entries.
func (c gptCopy) table(d *disk, sector int64) *Table {
	if c.head.sector != 0 {
		sector = c.head.sector
	}
	t := &Table{Type: "gpt", ID: c.head.id, SectorSize: sector, Partitions: []Partition{}}
	length := int(c.head.length)
	for i, b := 1, c.entries; length >= gptEntry && len(b) >= length; i, b = i+1, b[length:] {
		d.gptEntry(t, i, b[:gptEntry])
	}
	return t
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
