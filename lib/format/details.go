package format

import (
	"context"
	"encoding/json"
	"io"
	"path/filepath"

	"github.com/cdictl/cdictl/lib/format/qcow2"
)

// Details is what the metadata of an image tells. Its JSON has the field names of qemu-img info --output=json; what
// qemu-img does not have is marked as ours.
type Details struct {
	// Filename, ActualSize and Codec are for the caller to fill in: a format does not know where its bytes come from.
	Filename string `json:"filename,omitempty"`
	Format   string `json:"format"`
	// Codec that the format lies in; ours.
	Codec       string `json:"codec,omitempty"`
	VirtualSize int64  `json:"virtual-size"`
	// StoredSize is the length of the file, under the codec; 0 if not known. Ours.
	StoredSize int64 `json:"stored-size,omitempty"`
	// ActualSize is what the file takes on its filesystem.
	ActualSize  int64 `json:"actual-size,omitempty"`
	ClusterSize int64 `json:"cluster-size,omitempty"`
	DirtyFlag   bool  `json:"dirty-flag"`
	Encrypted   bool  `json:"encrypted,omitempty"`

	// The backing file, as the image names it, and where that would be. It was not opened.
	BackingFilename       string `json:"backing-filename,omitempty"`
	BackingFilenameFormat string `json:"backing-filename-format,omitempty"`
	FullBackingFilename   string `json:"full-backing-filename,omitempty"`

	Snapshots []Snapshot `json:"snapshots,omitempty"`
	// SnapshotCount is set instead of Snapshots where only the start of a stream was seen and the table lies beyond. Ours.
	SnapshotCount int `json:"snapshot-count,omitempty"`

	FormatSpecific *Specific `json:"format-specific,omitempty"`
}

// Specific is what only images of one format have. Type is the format's name. Its JSON has the data of that format.
type Specific struct {
	Type string        `json:"type"`
	Data QCOW2Specific `json:"data"`
	VMDK *VMDKSpecific `json:"-"` // of a vmdk
}

// MarshalJSON puts the data of the format under "data".
func (s Specific) MarshalJSON() ([]byte, error) {
	var data any = s.Data
	if s.VMDK != nil {
		data = s.VMDK
	}
	return json.Marshal(map[string]any{"type": s.Type, "data": data})
}

// VMDKSpecific is what only vmdk has.
type VMDKSpecific struct {
	CID        uint32       `json:"cid"`
	ParentCID  uint32       `json:"parent-cid"` // 0xffffffff without a parent
	CreateType string       `json:"create-type"`
	Extents    []VMDKExtent `json:"extents"`
}

// VMDKExtent is one file of a vmdk.
type VMDKExtent struct {
	// Filename is where the file would be; empty, for the caller to fill in, if it is the image itself.
	Filename    string `json:"filename"`
	Format      string `json:"format"` // the extent's type; empty for the image itself
	VirtualSize int64  `json:"virtual-size"`
	ClusterSize int64  `json:"cluster-size,omitempty"`
	Compressed  bool   `json:"compressed,omitempty"`
}

// QCOW2Specific is what only qcow2 has. What version 2 does not have is nil there.
type QCOW2Specific struct {
	Compat          string   `json:"compat"`
	CompressionType string   `json:"compression-type"`
	LazyRefcounts   *bool    `json:"lazy-refcounts,omitempty"`
	RefcountBits    int      `json:"refcount-bits"`
	Corrupt         *bool    `json:"corrupt,omitempty"`
	ExtendedL2      *bool    `json:"extended-l2,omitempty"`
	DataFile        string   `json:"data-file,omitempty"`
	DataFileRaw     *bool    `json:"data-file-raw,omitempty"`
	Encrypt         *Encrypt `json:"encrypt,omitempty"`
	// BitmapCount is the number of persistent dirty bitmaps; ours.
	BitmapCount int `json:"bitmap-count,omitempty"`
	// UnknownFeatures are incompatible features for which the image is refused; ours.
	UnknownFeatures []string `json:"unknown-features,omitempty"`
}

// Encrypt names the method of an encrypted image: "aes" or "luks".
type Encrypt struct {
	Format string `json:"format"`
}

// Snapshot is one internal snapshot.
type Snapshot struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	VMStateSize int64  `json:"vm-state-size"`
	DateSec     int64  `json:"date-sec"`
	DateNsec    int64  `json:"date-nsec"`
	VMClockSec  int64  `json:"vm-clock-sec"`
	VMClockNsec int64  `json:"vm-clock-nsec"`
	Icount      *int64 `json:"icount,omitempty"`
	// VirtualSize of the disk at that time; ours.
	VirtualSize int64 `json:"virtual-size"`
}

func describeQcow2(ctx context.Context, ra io.ReaderAt, size int64, o Options) (Details, error) {
	info, err := qcow2.Describe(ctx, ra, size, qcow2.Options{Limits: o.Limits, Gap: o.Gap})
	if err != nil {
		return Details{}, err
	}
	d := Details{
		Format:                "qcow2",
		VirtualSize:           info.VirtualSize,
		StoredSize:            max(size, 0),
		ClusterSize:           info.ClusterSize,
		DirtyFlag:             info.Dirty,
		Encrypted:             info.Encryption != "",
		BackingFilename:       info.BackingFile,
		BackingFilenameFormat: info.BackingFormat,
		FullBackingFilename:   fullName(o.Dir, info.BackingFile),
	}
	s := QCOW2Specific{
		Compat: info.Compat, CompressionType: info.CompressionType, RefcountBits: info.RefcountBits,
		BitmapCount: info.Bitmaps, UnknownFeatures: info.UnknownFeatures,
	}
	if info.Version >= 3 {
		s.LazyRefcounts, s.Corrupt, s.ExtendedL2 = &info.LazyRefcounts, &info.Corrupt, &info.ExtendedL2
	}
	if info.ExternalData {
		s.DataFile, s.DataFileRaw = info.DataFile, &info.DataFileRaw
	}
	if info.Encryption != "" {
		s.Encrypt = &Encrypt{Format: info.Encryption}
	}
	d.FormatSpecific = &Specific{Type: "qcow2", Data: s}
	if info.SnapshotsUnknown {
		d.SnapshotCount = info.SnapshotCount
	}
	for _, sn := range info.Snapshots {
		out := Snapshot{
			ID: sn.ID, Name: sn.Name, VMStateSize: sn.VMStateSize, VirtualSize: sn.VirtualSize,
			DateSec: sn.Date.Unix(), DateNsec: int64(sn.Date.Nanosecond()),
			VMClockSec: int64(sn.VMClock / 1e9), VMClockNsec: int64(sn.VMClock % 1e9),
		}
		if sn.Icount >= 0 {
			out.Icount = &sn.Icount
		}
		d.Snapshots = append(d.Snapshots, out)
	}
	return d, nil
}

// fullName is where a backing file would be, for a person to read.
func fullName(dir, name string) string {
	if name == "" || dir == "" || filepath.IsAbs(name) || hasProtocol(name) {
		return name
	}
	return filepath.Join(dir, name)
}
