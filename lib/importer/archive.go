package importer

import (
	"context"
	"fmt"
	"io"

	"github.com/cdictl/cdictl/lib/archive"
	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/verify"
)

// enter goes into an archive, to the disk in it: from then on the disk's file is what is stored. An archive that can be
// read out of order becomes a window, and what its manifest says is checked like a checksum that the user gave. One that
// comes in order, or that the user's checksum is of, is read in order.
func (c *opened) enter(ctx context.Context, want verify.Digest) error {
	if c.inArchive {
		return errdef.WithHint(fmt.Errorf("%s inside of an archive: %w", c.format.Title, errdef.ErrUnsupported), "unpack the outer one first")
	}
	c.inArchive = true
	c.siblings = nil // what lies beside the archive does not belong to the disk
	o := archive.Options{Disk: c.opts.Disk}
	if c.random != nil && want.IsZero() {
		d, err := archive.Find(ctx, c.random, c.info.Size, o)
		if err != nil {
			return err
		}
		c.blob = archive.Window(c.blob, d)
		c.info, c.random, c.digest = c.blob.Info(), c.blob.(io.ReaderAt), d.Digest
		c.verifier = verify.NewReader(c.blob, d.Digest)
		c.inside(d)
		return c.look(ctx, want, c.verifier)
	}
	s, err := archive.NewStream(c.content, o)
	if err != nil {
		return err
	}
	d := s.Disk()
	c.archive, c.random = s, nil
	c.info.Size, c.info.Name, c.info.Dir, c.info.Allocated = d.Size, d.Name, "", 0
	c.inside(d)
	return c.look(ctx, want, s)
}

func (c *opened) inside(d archive.Disk) {
	c.name = fmt.Sprintf("%s (%.200q)", c.name, d.Name)
	c.opts.Tracker.SetStoredTotal(d.Size)
	c.outer, c.decoder = c.decoder, nil
}

// expected is the digest that the stored bytes must have: the user's, or that of an archive's manifest.
func (c *opened) expected(users verify.Digest) verify.Digest {
	if !c.digest.IsZero() {
		return c.digest
	}
	return users
}

// finishArchive checks what only the end of an archive tells.
func (c *opened) finishArchive() error {
	if c.archive == nil {
		return nil
	}
	return c.archive.Finish()
}
