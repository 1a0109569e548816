package content

import (
	"fmt"
)

const (
	mbrSize    = 512
	mbrTable   = 446 // four entries of 16 bytes, then the mark
	mbrSector  = 512
	protective = 0xee // of a GPT: UEFI 2.10 §5.2.3
)

// An mbrEntry is one of four: UEFI 2.10 §5.2.1.
type mbrEntry struct {
	boot, kind   byte
	first, count uint32 // sectors
}

// used: as the kernel and blkid have it, whatever the type. The ISOs of Debian have partitions of type 0.
func (e mbrEntry) used() bool { return e.count != 0 }

func (e mbrEntry) extended() bool { return e.kind == 0x05 || e.kind == 0x0f || e.kind == 0x85 }

// mbrEntries are those of the first sector, nil if there is no table in it: the mark is missing, or an entry is neither
// bootable nor not, or all are unused.
func mbrEntries(whole *volume) []mbrEntry { return parseEntries(whole.at(0, mbrSize)) }

func parseEntries(b []byte) []mbrEntry {
	if len(b) < mbrSize || b[510] != 0x55 || b[511] != 0xaa {
		return nil
	}
	list := make([]mbrEntry, 4)
	used := false
	for i := range list {
		e := b[mbrTable+16*i:]
		list[i] = mbrEntry{e[0], e[4], le.Uint32(e[8:]), le.Uint32(e[12:])}
		if e[0]&^0x80 != 0 {
			return nil
		}
		used = used || list[i].used()
	}
	if !used {
		return nil
	}
	return list
}

func (d *disk) mbr(whole *volume, entries []mbrEntry) *Table {
	t := &Table{Type: "mbr", SectorSize: mbrSector, Partitions: []Partition{}}
	if id := le.Uint32(whole.at(440, 4)); id != 0 {
		t.ID = fmt.Sprintf("0x%08x", id)
	}
	for i, e := range entries {
		if e.used() {
			t.add(e.partition(i+1, 0))
		}
	}
	next := 5
	for i, e := range entries {
		if e.used() && e.extended() {
			next = d.logical(t, i+1, e, next)
		}
	}
	return t
}

func (e mbrEntry) partition(number int, base int64) Partition {
	return Partition{
		Number: number, Type: fmt.Sprintf("0x%02x", e.kind), TypeName: mbrTypes[e.kind], Bootable: e.boot == 0x80,
		Start: (base + int64(e.first)) * mbrSector, Size: int64(e.count) * mbrSector,
	}
}

// add lists a partition, or counts it.
func (t *Table) add(p Partition) {
	if len(t.Partitions) == MaxPartitions {
		t.More++
		return
	}
	t.Partitions = append(t.Partitions, p)
}

// logical goes through the chain of an extended partition. Each link is a sector with a table in it: one entry is a
// partition, counted from that sector, one names the next link, counted from the start of the extended partition. Tools
// that delete and add leave links out of order, so only one that comes again tells a loop.
func (d *disk) logical(t *Table, number int, in mbrEntry, next int) int {
	first := int64(in.first)
	seen := map[int64]bool{}
	for at := first; ; {
		if seen[at] {
			d.problem("extended partition %d: its chain comes back to the link at %d", number, at*mbrSector)
			return next
		}
		seen[at] = true
		if len(t.Partitions) == MaxPartitions || len(seen) > MaxPartitions {
			d.problem("extended partition %d: its chain goes on behind %d links", number, len(seen)-1)
			return next
		}
		b := d.readOr("a link of an extended partition", at*mbrSector, mbrSize)
		list := parseEntries(b)
		if list == nil {
			// An extended partition that nothing was put into may have a link without entries.
			if len(b) == mbrSize && (b[510] != 0x55 || b[511] != 0xaa) {
				d.problem("extended partition %d: no table at %d", number, at*mbrSector)
			}
			return next
		}
		link := int64(-1)
		for _, e := range list {
			switch {
			case !e.used():
			case e.extended() && link < 0:
				link = first + int64(e.first)
			case !e.extended():
				t.add(e.partition(next, at))
				next++
			}
		}
		if link < 0 {
			return next
		}
		at = link
	}
}
