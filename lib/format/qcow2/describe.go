package qcow2

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/cdictl/cdictl/lib/internal/blob"
)

// Info is what the header and the snapshot table tell.
type Info struct {
	Version         int
	Compat          string // "0.10" for version 2, "1.1" for version 3, as qemu-img has it
	VirtualSize     int64
	ClusterSize     int64
	CompressionType string // "zlib", "zstd", or "unknown (N)"
	LazyRefcounts   bool
	RefcountBits    int
	Dirty           bool
	Corrupt         bool
	ExtendedL2      bool
	Encryption      string // "", "aes", "luks"
	BackingFile     string // as the image names it; not opened, not to be trusted
	BackingFormat   string
	ExternalData    bool
	DataFile        string // as the image names it
	DataFileRaw     bool
	Bitmaps         int // persistent dirty bitmaps; 0 also where they are not consistent
	// UnknownFeatures names incompatible features that this package does not know; Open refuses them.
	UnknownFeatures []string
	Snapshots       []Snapshot
	// SnapshotCount is what the header says; with SnapshotsUnknown, Snapshots is empty because the table lies beyond
	// what could be read.
	SnapshotCount    int
	SnapshotsUnknown bool
}

// A Snapshot is an entry of the snapshot table.
type Snapshot struct {
	ID, Name    string
	VMStateSize int64
	Date        time.Time     // when it was taken, UTC
	VMClock     time.Duration // how long the guest had run
	Icount      int64         // instructions executed; -1 where not recorded
	VirtualSize int64
}

// Describe tells what the header says, and follows nothing but the snapshot table: an image that Open refuses for a
// backing file, an external data file, encryption or an unknown feature is described too. size is the stored size; -1
// says that ra is only the start of a file, and then snapshots beyond it are reported as unknown.
func Describe(ctx context.Context, ra io.ReaderAt, size int64, o Options) (Info, error) {
	o.Limits = o.Limits.WithDefaults()
	p, err := blob.Open(ctx, "qcow2", ra, size)
	if err != nil {
		return Info{}, err
	}
	h, err := parseHeader(p)
	if err != nil {
		return Info{}, err
	}
	info := Info{
		Version:         int(h.version),
		Compat:          "1.1",
		VirtualSize:     h.size,
		ClusterSize:     h.clusterSize(),
		CompressionType: compressionName(h.compression),
		LazyRefcounts:   h.compat&bitLazyRefcounts != 0,
		RefcountBits:    1 << h.refcountOrder,
		Dirty:           h.incompat&bitDirty != 0,
		Corrupt:         h.incompat&bitCorrupt != 0,
		ExtendedL2:      h.extended(),
		Encryption:      encryption(h.crypt),
		BackingFile:     h.backingFile,
		BackingFormat:   h.backingFormat,
		ExternalData:    h.incompat&bitDataFile != 0,
		DataFile:        h.dataFile,
		DataFileRaw:     h.autoclear&bitDataFileRaw != 0,
		UnknownFeatures: h.unknownIncompat(),
		SnapshotCount:   int(h.snapshots),
	}
	if h.version == 2 {
		info.Compat = "0.10"
	}
	if h.autoclear&bitBitmaps != 0 {
		info.Bitmaps = int(h.bitmaps)
	}
	if h.snapshots == 0 {
		return info, nil
	}
	if err := h.checkTables(max(size, 0)); err != nil && size >= 0 {
		return Info{}, err
	}
	list, err := readSnapshots(ctx, ra, size, h, o.Limits)
	switch {
	case err == nil:
		for _, s := range list {
			info.Snapshots = append(info.Snapshots, s.Snapshot)
		}
	case size < 0:
		info.SnapshotsUnknown = true
	default:
		return Info{}, err
	}
	return info, nil
}

func compressionName(c uint8) string {
	switch c {
	case compressZlib:
		return "zlib"
	case compressZstd:
		return "zstd"
	}
	return fmt.Sprintf("unknown (%d)", c)
}
