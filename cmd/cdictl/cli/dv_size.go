package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cdictl/cdictl/cmd/cdictl/cli/meter"
	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/importer"
	"github.com/cdictl/cdictl/lib/resize"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/byurl"
)

// noEnv lends a source nothing.
var noEnv source.Env

// courtesy is how long an image is looked at whose size was given: it may well be one that only the cluster can reach.
const courtesy = 10 * time.Second

// byURL are the options of sources by the flags.
func (a *app) byURL(t *transferFlags) (byurl.Options, error) {
	return t.http.sources(a.in)
}

// dvSize is the size that the DataVolume asks for: the one that was given, else the image's virtual size from its header.
// One that is given and too small is found here, before anything is made.
func (a *app) dvSize(ctx context.Context, t *transferFlags, src string) (int64, error) {
	asked := int64(t.disk.size)
	info, err := a.probe(ctx, t, src, asked > 0)
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case asked > 0 && err != nil:
		a.tell(t, "note: the image's header cannot be read from here, so nobody knows yet whether %s is enough: %v", resize.FormatSize(asked), err)
		return asked, nil
	case asked > 0 && !info.VirtualSizeUnknown && info.VirtualSize > asked:
		return 0, errdef.WithHint(fmt.Errorf("the image has a virtual size of %s (%d bytes), %s were asked for: %w", meter.Size(info.VirtualSize), info.VirtualSize,
			resize.FormatSize(asked), errdef.ErrTooSmall), fmt.Sprintf("leave --size out, or ask for at least --size %d", info.VirtualSize))
	case asked > 0:
		return asked, nil
	case err != nil:
		return 0, cannotRead(err)
	case info.VirtualSizeUnknown:
		return 0, errdef.WithHint(usagef("the size of the disk is not known: %s comes through a codec, and only its end would tell", info.Source),
			"say it: --size 10Gi, at least what the disk has when it is unpacked")
	}
	return resize.AlignUp(max(info.VirtualSize, resize.Alignment), resize.Alignment)
}

// cannotRead says that the header is out of reach, which need not be so for the cluster.
func cannotRead(err error) error {
	hint := "the cluster may be able to read it; say the size then: --size 10Gi"
	switch {
	case errors.Is(err, errdef.ErrUnauthorized):
		hint = "give this machine the credentials too (--username, --password-file or --token-file), or say the size: --size 10Gi"
	case errors.Is(err, errdef.ErrCorrupt), errors.Is(err, errdef.ErrUnsupported), errors.Is(err, errdef.ErrLimit):
		return err // the cluster would find the same
	}
	return errdef.WithHint(fmt.Errorf("the size of the disk cannot be read from the image: %w", err), hint)
}

// probe reads the header of the image. In short, it gives up quickly.
func (a *app) probe(ctx context.Context, t *transferFlags, src string, short bool) (importer.Info, error) {
	m := meter.Start(meter.Options{Mode: meter.None, Out: a.talk, Quiet: t.output.quiet || short, Clean: clean}) // for retries
	defer m.Stop()
	limits, err := t.limits.limits()
	if err != nil {
		return importer.Info{}, err
	}
	by, err := a.byURL(t)
	if err != nil {
		return importer.Info{}, err
	}
	if short {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, courtesy)
		defer cancel()
		by.HTTP.Retries = -1 // httpsource's word for none
	}
	s, err := byurl.Parse(src, by)
	if err != nil {
		return importer.Info{}, err
	}
	return importer.Probe(ctx, s, importer.Options{Limits: limits, OnRetry: a.retried(m)})
}
