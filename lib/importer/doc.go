// Package importer is the front door: it makes a raw, sparse, verified disk out of an image from anywhere.
//
//	src, err := httpsource.New("https://example.org/disk.qcow2", httpsource.Options{})
//	if err != nil {
//		return err
//	}
//	res, err := importer.Import(ctx, importer.Request{
//		Source: src,
//		Target: filesink.New("disk.img", filesink.Options{}),
//		Spool:  ".",
//	})
//
// [Import] opens the source, tells codec and format by magic, plans a route (see package plan), opens the target, moves
// the bytes, verifies the checksum, and only then makes the disk visible. [Probe] reads metadata only, [Explain] makes
// the plan only. Errors are those of package errdef; ErrChanged, ErrUnavailable and others say whether to try again.
// The importer imports no source and no sink: it takes them.
package importer
