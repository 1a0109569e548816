// Package containerdisk makes container disks: container images with one file below /disk/, as KubeVirt boots virtual machines
// from and registrysource reads them. It sends them to a registry or into an OCI layout.
//
// An image has one layer, a tar with the folder disk and the file in it, and follows the OCI Image Format Specification 1.1.
// Nothing in it tells when, where or by how many workers it was made, so the same disk makes the same digests.
package containerdisk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format"
	"github.com/cdictl/cdictl/lib/importer"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/registrysource"
)

// Request says what container disk to make of what, and where to send it.
type Request struct {
	Source source.Source
	Target *registrysource.Destination

	// Format of the file: "qcow2" (the default) or "raw".
	Format string
	// Compression of a qcow2's clusters: "zlib" (the default, which every qemu reads), "zstd" or "none".
	Compression string
	// LayerCompression is the codec over the layer: "none", "gzip" or "zstd". Default: none over a qcow2, which is compressed in
	// itself and can then be read in ranges as it lies in the layer; zstd over a raw disk, which containerd, CRI-O and podman
	// unpack since 2021, several times faster than gzip.
	LayerCompression string
	// Name of the file below /disk/; default disk.qcow2 or disk.img.
	Name string
	// Platform is os/arch[/variant]; default: linux on this machine's architecture.
	Platform string
	Labels   map[string]string
	Env      map[string]string
	// Created is the time that image and files tell; zero: none, and 1970 where there must be one.
	Created time.Time
	// AppendIndex makes the tag an index, or extends the one that it is: the image of the same platform is replaced, the others stay.
	AppendIndex bool
	// Scratch is a folder for the file or the compressed layer, which needs its room there until it is sent. It has no name in it.
	// A raw disk in a layer that is not compressed needs none.
	Scratch string
	importer.DiskOptions
}

// Result tells what was made and sent. Its JSON names are stable.
type Result struct {
	Source           string `json:"source"`
	Target           string `json:"target"`
	Digest           string `json:"digest"`   // of what the tag names: the manifest or the index
	Manifest         string `json:"manifest"` // digest of this image
	Reference        string `json:"reference"`
	Platform         string `json:"platform"`
	Platforms        int    `json:"platforms"` // images in the index, 1 without one
	File             string `json:"file"`
	Format           string `json:"format"`
	Compression      string `json:"compression"`
	LayerCompression string `json:"layerCompression"`
	VirtualSize      int64  `json:"virtualSize"`
	FileSize         int64  `json:"fileSize"`
	Layer            string `json:"layer"`
	LayerSize        int64  `json:"layerSize"`
	// BlobsSent and BlobsSkipped are layer and configuration. Manifests and the index are none.
	BlobsSent    int     `json:"blobsSent"`
	BlobsSkipped int     `json:"blobsSkipped"`
	Sent         int64   `json:"bytesSent"` // of blobs, repetitions included
	TagMoved     bool    `json:"tagMoved"`  // false: it named the digest already
	Fetched      int64   `json:"bytesFetched"`
	Spooled      int64   `json:"bytesSpooled"`
	Seconds      float64 `json:"seconds"`
}

// A blob is what a manifest names.
type blob struct {
	what   string // for people
	digest string
	size   int64
	bytes  io.ReaderAt
}

// A store is where an image goes.
type store interface {
	// ready reports whether it will take anything, as far as that can be told before there is something.
	ready(ctx context.Context) error
	// has reports whether the blob is there.
	has(ctx context.Context, b blob) (bool, error)
	// put sends the blob, which is visible to nobody but by its digest.
	put(ctx context.Context, b blob) error
	// get returns what a digest names, or with "" the tag; nil if there is nothing.
	get(ctx context.Context, digest string, most int64) (*document, error)
	// set stores a manifest or an index, under its digest or the tag.
	set(ctx context.Context, d document, tag bool) error
	// close ends what was begun. What is done stays if keep.
	close(ctx context.Context, keep bool) error
}

// A document is a manifest, an index or a configuration.
type document struct {
	kind string
	text []byte
}

// Push makes the image and sends it. The tag changes last, when everything is there that it leads to; after an error it is what
// it was, and on this machine nothing is left.
func Push(ctx context.Context, r Request) (_ Result, err error) {
	start := time.Now()
	platform, err := r.check()
	if err != nil {
		return Result{}, err
	}
	res := Result{Source: r.Source.String(), Target: r.Target.String(), Platform: platform.String(), Platforms: 1, Format: r.Format,
		Compression: r.Compression, LayerCompression: r.LayerCompression, File: "/disk/" + r.Name}
	st, err := r.open(ctx, &res)
	if err != nil {
		return Result{}, r.onTarget(ctx, err)
	}
	kept := false
	defer func() {
		if e := st.close(ctx, kept); err == nil && e != nil {
			err = r.onTarget(ctx, e)
		}
	}()
	r.Tracker.SetPhase("asking")
	if err := st.ready(ctx); err != nil {
		return Result{}, r.onTarget(ctx, err)
	}
	p, err := r.pack(ctx)
	if err != nil {
		return Result{}, causeOf(ctx, err)
	}
	defer p.close()
	res.VirtualSize, res.FileSize = p.disk.Size(), p.size
	res.Layer, res.LayerSize = p.layer.digest, p.layer.size
	if err := r.send(ctx, st, platform, p, &res); err != nil {
		return Result{}, r.onTarget(ctx, err)
	}
	kept = true
	s := r.Tracker.Snapshot()
	res.Fetched, res.Spooled, res.Seconds = s.Stored, s.Spooled, time.Since(start).Seconds()
	res.Reference = r.Target.Pinned(res.Digest)
	return res, nil
}

// send stores what the image is made of, from the leaves to the tag.
func (r *Request) send(ctx context.Context, st store, platform registrysource.Platform, p *packed, res *Result) error {
	config, err := r.config(platform, p.diffID)
	if err != nil {
		return err
	}
	r.Tracker.Restart("sending", p.layer.size+config.size)
	for _, b := range []blob{p.layer, config} {
		there, err := st.has(ctx, b)
		switch {
		case err != nil:
			return err
		case there:
			res.BlobsSkipped++
			r.Tracker.AddVirtual(b.size)
			continue
		}
		if err := st.put(ctx, b); err != nil {
			return err
		}
		res.BlobsSent++
	}
	m, err := manifest(config, p.layer, p.kind)
	if err != nil {
		return err
	}
	res.Manifest = digestOf(m.text)
	root := m
	was, err := st.get(ctx, "", maxDocument)
	if err != nil {
		return err
	}
	if r.AppendIndex {
		if err := st.set(ctx, m, false); err != nil {
			return err
		}
		if root, res.Platforms, err = appended(ctx, st, was, m, platform); err != nil {
			return err
		}
	}
	res.Digest = digestOf(root.text)
	if was != nil && digestOf(was.text) == res.Digest {
		return nil
	}
	r.Tracker.SetPhase("committing")
	res.TagMoved = true
	return st.set(ctx, root, true)
}

const (
	maxName    = 200
	maxEntries = 1000     // labels, variables
	maxEntry   = 64 << 10 // bytes of one
)

// fileName has what every system and shell takes: it is the name of one file in a folder of its own.
var fileName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._+-]*$`)

// check fills in the defaults, and refuses what makes no image.
func (r *Request) check() (registrysource.Platform, error) {
	set := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	p, err := registrysource.ParsePlatform(r.Platform)
	if err != nil {
		return p, err
	}
	set(&r.Format, "qcow2")
	switch r.Format {
	case "qcow2":
		set(&r.Name, "disk.qcow2")
		set(&r.Compression, "zlib")
		set(&r.LayerCompression, "none")
	case "raw":
		if r.Compression != "" && r.Compression != "none" {
			return p, usage("a raw disk has no clusters to compress")
		}
		r.Compression = "none"
		set(&r.Name, "disk.img")
		set(&r.LayerCompression, "zstd")
	default:
		return p, usage("format %.40q is neither qcow2 nor raw", r.Format)
	}
	if _, err := format.ByName(r.Format); err != nil {
		return p, err
	}
	switch {
	case !fileName.MatchString(r.Name) || len(r.Name) > maxName || path.Base(r.Name) != r.Name:
		return p, usage("%.100q is no plain name of a file", r.Name)
	case mediaTypes[r.LayerCompression] == "":
		return p, usage("layer compression %.40q is neither none nor gzip nor zstd", r.LayerCompression)
	case r.Scratch == "" && !r.inPlace():
		return p, fmt.Errorf("the layer is made in a file before it is sent: %w", errdef.ErrScratchNeeded)
	case !r.Created.IsZero() && (r.Created.Year() < 1970 || r.Created.Year() > 9999):
		return p, usage("the year %d of the time of creation is not in 1970 to 9999", r.Created.Year())
	}
	for what, m := range map[string]map[string]string{"label": r.Labels, "variable": r.Env} {
		if len(m) > maxEntries {
			return p, usage("%d are more than %d entries of the kind %s", len(m), maxEntries, what)
		}
		for k, v := range m {
			if k == "" || strings.ContainsAny(k, "=\x00") || strings.Contains(v, "\x00") || len(k)+len(v) > maxEntry || !utf8.ValidString(k+v) {
				return p, usage("%s %.60q: a name without =, and text without zero bytes of less than %d bytes", what, k, maxEntry)
			}
		}
	}
	return p, nil
}

// inPlace: the layer can be read from the source as often as it is needed.
func (r *Request) inPlace() bool { return r.Format == "raw" && r.LayerCompression == "none" }

// open is the store that the target names.
func (r *Request) open(ctx context.Context, res *Result) (store, error) {
	if folder, name, ok := r.Target.Layout(); ok {
		return openLayout(folder, name, r.Tracker, res)
	}
	return openRegistry(ctx, r.Target, source.Env{Limiter: r.Limiter, OnRetry: r.OnRetry, Trace: r.Trace}, r.Tracker, res)
}

// onTarget says that an error belongs to the target, unless it knows better.
func (r *Request) onTarget(ctx context.Context, err error) error {
	if e := (*errdef.Error)(nil); err == nil || errors.As(err, &e) && e.Side == errdef.Target && e.Name == r.Target.String() {
		return err
	}
	if ctx.Err() != nil {
		return causeOf(ctx, ctx.Err())
	}
	var e *errdef.Error
	if errors.As(err, &e) && e.Side == errdef.Source && e.Name == r.Target.String() { // as whoever reads a registry tells it
		err = errdef.WithHint(e.Err, errdef.Hint(err))
	}
	return &errdef.Error{Op: "push to", Side: errdef.Target, Name: r.Target.String(), Err: err}
}

// causeOf is why ctx ended, where that is what broke all else.
func causeOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func usage(format string, args ...any) error {
	return fmt.Errorf("container disk: "+format+": %w", append(args, errdef.ErrUsage)...)
}
