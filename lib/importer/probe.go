package importer

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cdictl/cdictl/lib/content"
	"github.com/cdictl/cdictl/lib/format"
	"github.com/cdictl/cdictl/lib/plan"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/verify"
)

// Info is what the metadata of an image tells. Its JSON has the field names of qemu-img info --output=json.
type Info struct {
	format.Details
	Source   string `json:"source"`
	Identity string `json:"identity,omitempty"`
	// VirtualSizeUnknown: the content comes through a codec or without a length, and only its end would tell.
	VirtualSizeUnknown bool `json:"virtual-size-unknown,omitempty"`
	// Content is what the disk holds, where Inspect could look; ours.
	Content *content.Summary `json:"content,omitempty"`
}

// Probe reads the metadata of an image and nothing else. A backing file is named, not opened.
func Probe(ctx context.Context, s source.Source, o Options) (Info, error) {
	return probe(ctx, s, o, false)
}

// Inspect is Probe and a look into the disk, for its partitions and filesystems. It reads no more than the start of what
// comes in order only, and where reads cost a round trip 1 MiB of what is stored. What it cannot look into, or what lies in
// there, is no error: it says so.
func Inspect(ctx context.Context, s source.Source, o Options) (Info, error) {
	return probe(ctx, s, o, true)
}

func probe(ctx context.Context, s source.Source, o Options, look bool) (Info, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c, err := open(ctx, s, o, verify.Digest{})
	if err != nil {
		return Info{}, err
	}
	defer c.Close()
	info, err := c.describe(ctx)
	if err != nil {
		return Info{}, onSource("read", c.name, err)
	}
	info.Source, info.Filename, info.Codec, info.Identity = c.name, c.name, c.codec, c.info.Identity
	info.nameExtents()
	info.StoredSize, info.ActualSize = max(c.info.Size, 0), c.info.Allocated
	if look {
		info.Content, err = c.inspect(ctx, &info)
	}
	return info, err
}

func (c *opened) describe(ctx context.Context) (Info, error) {
	o := c.formatOptions()
	switch {
	case c.random != nil:
		d, err := c.format.Describe(ctx, c.random, c.info.Size, o)
		return Info{Details: d}, err
	case c.format.Random:
		d, err := c.describeStart(ctx, o)
		unknown := d.VirtualSize < 0
		d.VirtualSize = max(d.VirtualSize, 0)
		return Info{Details: d, VirtualSizeUnknown: unknown}, err
	case c.codec == "" && c.info.Size >= 0:
		size, err := c.format.StreamSize(c.tail, c.info.Size)
		return Info{Details: format.Details{Format: c.format.Name, VirtualSize: size}}, err
	}
	return Info{Details: format.Details{Format: c.format.Name}, VirtualSizeUnknown: true}, nil
}

// maxStart is how much of a stream is read at most for the metadata of an image that has them behind its header. A VHDX
// has its log, and mostly the BAT, before them: 4 MiB suit disks of some TiB.
const maxStart = 8 << 20

// describeStart describes what comes in order only: by what was seen of it, and if that does not tell the virtual size by more.
func (c *opened) describeStart(ctx context.Context, o format.Options) (format.Details, error) {
	d, err := c.format.Describe(ctx, prefix(c.head), -1, o)
	var start []byte
	for n := int64(1 << 20); err == nil && d.VirtualSize < 0 && n <= maxStart; n *= 2 {
		more, wrong := io.ReadAll(io.LimitReader(c.content, n-int64(len(start))))
		if wrong != nil {
			return d, wrong
		}
		start = append(start, more...)
		size := int64(-1)
		if int64(len(start)) < n {
			size = int64(len(start)) // all of it
		}
		if d, err = c.format.Describe(ctx, prefix(start), size, o); size >= 0 {
			break
		}
	}
	return d, err
}

// Explanation says what an import will do.
type Explanation struct {
	Source string `json:"source"`
	Format string `json:"format"`
	Codec  string `json:"codec,omitempty"`
	plan.Plan
	VirtualSize int64 `json:"virtualSize"` // of the disk; -1: only the end of the stream tells
	StoredSize  int64 `json:"storedSize"`  // -1 likewise
	// Resume says where the import would go on if it were interrupted, or why nowhere, and Left what an earlier one that was
	// left. Empty where nobody asked for that.
	Resume string `json:"resume,omitempty"`
	Left   string `json:"left,omitempty"`
}

// Explain makes the plan for r and moves nothing: the source's first bytes and tables are read, the target is not touched.
func Explain(ctx context.Context, r Request) (Explanation, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	src, err := open(ctx, r.Source, r.Options, r.Checksum)
	if err != nil {
		return Explanation{}, err
	}
	defer src.Close()
	r.Checksum = src.expected(r.Checksum)
	j := &job{opened: src, req: r, abort: cancel}
	defer j.close()
	if err := j.prepare(ctx); err != nil {
		return Explanation{}, err
	}
	x := j.explain(j.size)
	x.Left = j.left()
	return x, nil
}

func (j *job) explain(size int64) Explanation {
	x := Explanation{Source: j.name, Format: j.format.Name, Codec: j.codec, Plan: j.plan, VirtualSize: size, StoredSize: j.info.Size}
	if j.req.Resume {
		where, ok := j.restarts()
		if x.Resume = where; !ok {
			x.Resume = "from the start: " + where
		}
	}
	return x
}

// String is the explanation for people, in a few lines.
func (e Explanation) String() string {
	var b strings.Builder
	what := e.Format
	if e.Codec != "" {
		what += " in " + e.Codec
	}
	fmt.Fprintf(&b, "source:       %s\nformat:       %s\n", e.Source, what)
	fmt.Fprintf(&b, "stored size:  %s\n", sizeText(e.StoredSize))
	if e.Route != plan.Extract { // there is no disk
		fmt.Fprintf(&b, "virtual size: %s\n", sizeText(e.VirtualSize))
	}
	fmt.Fprintf(&b, "route:        %s\nreason:       %s\n", e.Route, e.Reason)
	if e.Passes > 1 {
		fmt.Fprintf(&b, "passes:       %d\n", e.Passes)
	}
	if e.Fallback != "" {
		fmt.Fprintf(&b, "if held long: %s\n", e.Fallback)
	}
	if e.Resume != "" {
		fmt.Fprintf(&b, "if broken:    it goes on %s\n", e.Resume)
	}
	if e.Left != "" {
		fmt.Fprintf(&b, "left there:   %s\n", e.Left)
	}
	return b.String()
}

// String is the description for people, one fact a line.
func (i Info) String() string {
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-18s %s\n", name+":", value)
		}
	}
	line("image", i.Source)
	line("format", i.Format)
	line("codec", i.Codec)
	if i.VirtualSizeUnknown {
		line("virtual size", sizeText(-1))
	} else {
		line("virtual size", sizeText(i.VirtualSize))
	}
	if i.StoredSize > 0 {
		line("stored size", sizeText(i.StoredSize))
	}
	if i.ActualSize > 0 {
		line("allocated size", sizeText(i.ActualSize))
	}
	if i.ClusterSize > 0 {
		line("cluster size", fmt.Sprint(i.ClusterSize))
	}
	line("backing file", i.BackingFilename)
	line("backing format", i.BackingFilenameFormat)
	i.specific(line)
	if i.SnapshotCount > 0 {
		line("snapshots", fmt.Sprintf("%d (their table lies beyond what a stream shows)", i.SnapshotCount))
	}
	for _, s := range i.Snapshots {
		line("snapshot", fmt.Sprintf("%s %q %s, %s", s.ID, s.Name, time.Unix(s.DateSec, s.DateNsec).UTC().Format(time.DateTime), sizeText(s.VirtualSize)))
	}
	if i.Content != nil {
		contentLines(i.Content, line)
	}
	return b.String()
}

func (i Info) specific(line func(name, value string)) {
	if i.FormatSpecific == nil {
		return
	}
	if v := i.FormatSpecific.VMDK; v != nil {
		vmdkLines(v, line)
		return
	}
	d := i.FormatSpecific.Data
	line("compat", d.Compat)
	line("compression type", d.CompressionType)
	line("refcount bits", fmt.Sprint(d.RefcountBits))
	line("data file", d.DataFile)
	if d.Encrypt != nil {
		line("encryption", d.Encrypt.Format)
	}
	var flags []string
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"dirty", i.DirtyFlag}, {"corrupt", is(d.Corrupt)}, {"lazy refcounts", is(d.LazyRefcounts)}, {"extended L2", is(d.ExtendedL2)},
		{"raw data file", is(d.DataFileRaw)},
	} {
		if f.set {
			flags = append(flags, f.name)
		}
	}
	line("features", strings.Join(append(flags, d.UnknownFeatures...), ", "))
	if d.BitmapCount > 0 {
		line("bitmaps", fmt.Sprint(d.BitmapCount))
	}
}

func is(p *bool) bool { return p != nil && *p }

// sizeText is a size in a unit that people read, and in bytes.
func sizeText(n int64) string {
	if n < 0 {
		return "unknown until the end of the stream"
	}
	v, unit := float64(n), ""
	for _, unit = range []string{"bytes", "KiB", "MiB", "GiB", "TiB", "PiB"} {
		if v < 1024 {
			break
		}
		if unit != "PiB" {
			v /= 1024
		}
	}
	if unit == "bytes" {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%.4g %s (%d bytes)", v, unit, n)
}
