// Package content tells what a disk holds: a partition table (MBR or GPT) and its partitions, an ISO 9660 image, a
// filesystem at its start or in a partition.
//
// It names, and proves nothing: what a guest makes of a disk is the guest's business. All that is read is hostile. A table
// that lies is described with its problems beside it; it is never an error, and never makes more than a bounded number of
// reads. Names of filesystems are those of blkid, those of types and IDs of sfdisk.
package content

import (
	"context"
	"fmt"
	"io"

	"github.com/cdictl/cdictl/lib/errdef"
)

// MaxPartitions are listed; more are only counted. A GPT has 128 unless somebody wanted more.
const MaxPartitions = 256

// Options of Inspect. The zero value is useful.
type Options struct {
	// Budget is how many bytes of the disk are read at most; 0 means 1 MiB: the start, a GPT and some 60 partitions.
	Budget int64
}

// A Summary is what was recognised. Its JSON names are stable.
type Summary struct {
	// Table and Filesystem may both be there: a hybrid ISO is one of those.
	Table      *Table      `json:"partition-table,omitempty"`
	Filesystem *Filesystem `json:"filesystem,omitempty"` // at the start of the disk
	// Blank: nothing was recognised, and what was seen of the start is zeros.
	Blank bool `json:"blank,omitempty"`
	// Partial: not all that was asked for could be seen, for only the start of the disk is known, or for the Budget.
	Partial bool `json:"partial,omitempty"`
	// Problems are what a table says that cannot be, and what could not be read, each in a line.
	Problems []string `json:"problems,omitempty"`
}

// A Table is a partition table.
type Table struct {
	Type string `json:"type"`         // "mbr", "gpt"
	ID   string `json:"id,omitempty"` // the GUID of a GPT, the signature of an MBR
	// SectorSize is the unit of the table. An MBR does not tell it; 512 is assumed.
	SectorSize int64 `json:"sector-size"`
	// Hybrid: the MBR before a GPT has partitions of its own.
	Hybrid     bool        `json:"hybrid,omitempty"`
	Partitions []Partition `json:"partitions"`
	// More partitions are there than are listed.
	More int `json:"more,omitempty"`
}

// A Partition is an entry of a table. Start and Size are bytes.
type Partition struct {
	Number     int         `json:"number"`
	Type       string      `json:"type"` // "0x83" of an MBR, a GUID of a GPT
	TypeName   string      `json:"type-name,omitempty"`
	Name       string      `json:"name,omitempty"` // in a GPT; as the table has it, so not to be trusted
	ID         string      `json:"id,omitempty"`   // its GUID in a GPT
	Bootable   bool        `json:"bootable,omitempty"`
	Start      int64       `json:"start"`
	Size       int64       `json:"size"`
	Filesystem *Filesystem `json:"filesystem,omitempty"`
}

// A Filesystem is what is recognised by its superblock; also swap space, and what lies under others, such as LVM2.
type Filesystem struct {
	Type    string `json:"type"` // blkid's: "ext4", "vfat", "LVM2_member", …
	Version string `json:"version,omitempty"`
	Label   string `json:"label,omitempty"` // as it is there, so not to be trusted
	UUID    string `json:"uuid,omitempty"`
	Size    int64  `json:"size,omitempty"` // that the superblock claims
}

// Inspect tells what is on the disk of size bytes in ra; -1: not known. A read that ends early says that no more of the
// disk is known. The error is ctx's, or that of the first read: then nothing is known of the disk.
func Inspect(ctx context.Context, ra io.ReaderAt, size int64, o Options) (Summary, error) {
	if o.Budget == 0 {
		o.Budget = 1 << 20
	}
	if size < -1 || o.Budget < 0 {
		return Summary{}, fmt.Errorf("content of %d bytes with a budget of %d: %w", size, o.Budget, errdef.ErrUsage)
	}
	d := &disk{ctx: ctx, ra: ra, size: size, left: o.Budget}
	whole := d.volume(0, size)
	if err := whole.load(0, wholeHead); err != nil {
		return Summary{}, err
	}
	fs := whole.recognise()
	s := Summary{Filesystem: fs, Table: d.table(whole, fs)}
	if err := ctx.Err(); err != nil {
		return Summary{}, err
	}
	s.Blank = s.Filesystem == nil && s.Table == nil && len(d.problems) == 0 && zeros(whole.pieces[0].b)
	s.Partial, s.Problems = d.partial, d.problems
	return s, nil
}

// table finds the partition table, and what its partitions hold.
func (d *disk) table(whole *volume, fs *Filesystem) *Table {
	entries := mbrEntries(whole)
	t := d.gpt(whole, entries)
	if t == nil && entries != nil && !(fs != nil && fs.bootSector()) {
		t = d.mbr(whole, entries)
	}
	if t == nil {
		return nil
	}
	for i := range t.Partitions {
		p := &t.Partitions[i]
		if d.check(p) && !hollow(p.Type) {
			v := d.volume(p.Start, p.Size)
			if p.Start == 0 {
				v.pieces = whole.pieces // read already
			}
			p.Filesystem = v.recognise()
		}
	}
	return t
}

// check says what cannot be of a partition, and whether its start can be looked at.
func (d *disk) check(p *Partition) bool {
	switch {
	case d.size < 0:
	case p.Start >= d.size:
		d.problem("partition %d begins at %d, the disk has %d bytes", p.Number, p.Start, d.size)
		return false
	case p.Size > d.size-p.Start:
		d.problem("partition %d ends at %d, the disk has %d bytes", p.Number, p.Start+p.Size, d.size)
	}
	return true
}

func zeros(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
