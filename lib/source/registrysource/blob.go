package registrysource

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/source"
)

// A choice is where the disk of an image lies, for who opens the image again.
type choice struct {
	layer int // counted from the bottom
	name  string
	alone bool // it is known that there is no other
}

// blob is the disk as it passes in a layer. Only Close may be called beside Read.
type blob struct {
	src    *Source
	ctx    context.Context // ends with Open's or with Close
	cancel context.CancelCauseFunc
	env    source.Env
	store  store
	image  *image

	at   choice
	view *view
	tar  *tarball
	disk entry
	rest int64
	err  error // of Read; it stays

	start int64    // of the disk in its layer's tar
	from  *tarball // where the disk is, once it was found

	mu      sync.Mutex
	closed  bool
	closing sync.Once
}

var (
	_ source.Blob   = (*blob)(nil)
	_ source.Marker = (*blob)(nil)
)

// A found is a file that may be the disk.
type found struct {
	layer int
	entry entry
}

// begin goes to the first byte of the disk.
func (b *blob) begin() error {
	key := b.image.digest.String()
	b.src.mu.Lock()
	known := b.src.known[key]
	b.src.mu.Unlock()
	if known != nil && known.alone {
		return b.reopen(*known)
	}
	if err := b.search(); err != nil {
		return err
	}
	b.remember()
	return nil
}

func (b *blob) remember() {
	b.src.mu.Lock()
	defer b.src.mu.Unlock()
	at := b.at
	b.src.known[b.image.digest.String()] = &at
}

// reopen goes to where the disk was found before.
func (b *blob) reopen(c choice) error {
	b.view = newView(c.name)
	ok, _, err := b.layer(c.layer, true)
	if err == nil && !ok {
		err = fmt.Errorf("/%s is not in the layer any more: %w", c.name, errdef.ErrChanged)
	}
	b.at = c
	return err
}

// search looks for the disk from the top layer down, and stops at the first file: b.tar is at its first byte.
func (b *blob) search() error {
	b.view = newView(b.src.path)
	var links []found
	for i := len(b.image.layers) - 1; i >= 0 && !b.view.closed(); i-- {
		ok, hard, err := b.layer(i, true)
		if err != nil {
			return err
		}
		links = append(links, hard...)
		if ok {
			b.at = choice{layer: i, name: b.disk.name, alone: b.src.path != ""}
			return b.agree(links)
		}
		if b.src.path != "" && len(links) > 0 {
			break // the layers below are not seen through it
		}
	}
	if len(links) == 0 {
		return b.notFound()
	}
	return b.follow(links)
}

// agree checks that hard links that were seen before the disk lead to it.
func (b *blob) agree(links []found) error {
	all := []string{b.disk.name}
	for _, l := range links {
		if l.entry.link != b.disk.name {
			all = append(all, l.entry.name)
		}
	}
	return several(all)
}

// several is an error if all are more than one disk.
func several(all []string) error {
	if len(all) < 2 {
		return nil
	}
	slices.Sort(all)
	names := make([]string, 0, maxListed+1)
	for i, n := range all {
		if i == maxListed {
			names = append(names, fmt.Sprintf("%d more", len(all)-i))
			break
		}
		names = append(names, fmt.Sprintf("/%.100s", printable(n)))
	}
	return errdef.WithHint(fmt.Errorf("%d files below /%s/, and it was not said which is the disk: %s: %w", len(all), diskDir, strings.Join(names, ", "), errdef.ErrUsage),
		"choose one: --path "+names[0])
}

func (b *blob) notFound() error {
	if b.src.path != "" {
		return errdef.WithHint(fmt.Errorf("the image has no file /%s: %w", b.src.path, errdef.ErrNotFound), "leave out --path if the disk is the only file below /disk/")
	}
	return errdef.WithHint(fmt.Errorf("the image has no file below /%s/, so it is no container disk: %w", diskDir, errdef.ErrNotFound),
		"if the disk lies elsewhere in it, name it: --path /images/disk.qcow2")
}

// maxLinks bounds a chain of hard links: tar has none, so a real one has one step.
const maxLinks = 8

// follow resolves hard links: their file lies in the same layer, mostly before them, or in a lower one. What has happened
// to the file's own name in the layers above the link is of no interest: it is the same file.
func (b *blob) follow(links []found) error {
	for i, l := range links[1:] {
		if l.entry.link != links[0].entry.link {
			all := []string{links[0].entry.name}
			for _, l := range links[i+1:] {
				all = append(all, l.entry.name)
			}
			return several(all)
		}
	}
	link := links[len(links)-1] // of several names the lowest: the file lies there or below
	for range maxLinks {
		b.view = newView(link.entry.link)
		next := found{layer: -1}
		for i := link.layer; i >= 0 && !b.view.closed(); i-- {
			ok, hard, err := b.layer(i, true)
			if err != nil {
				return err
			}
			if ok {
				b.at = choice{layer: i, name: b.disk.name, alone: true}
				return nil
			}
			if len(hard) > 0 {
				next = hard[0]
				break
			}
		}
		if next.layer < 0 || next.entry.name == next.entry.link {
			break
		}
		link = next
	}
	return corrupt("/%.100s is a hard link to /%.100s, which is no file of the image", printable(links[0].entry.name), printable(link.entry.link))
}

// layer reads layer i up to the disk and reports whether it is there; else to its end, with the hard links in it that may
// be the disk. When take is false no file is taken: all that may be the disk is returned.
func (b *blob) layer(i int, take bool) (ok bool, others []found, err error) {
	t, err := b.src.tarball(b.ctx, b.store, b.image.layers[i])
	if err != nil {
		return false, nil, err
	}
	b.swap(t)
	for {
		e, err := t.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return false, nil, err
		}
		hidden, err := b.view.see(e.name, e.kind == tar.TypeDir)
		if err != nil {
			return false, nil, err
		}
		if hidden || !b.view.wanted(e.name) || !b.view.visible(e.name) {
			continue
		}
		switch {
		case e.hard() || e.regular() && !take:
			others = append(others, found{i, e})
		case e.odd:
			return false, nil, errdef.WithHint(fmt.Errorf("/%.100s is stored as a sparse file in its layer: %w", printable(e.name), errdef.ErrUnsupported),
				"build the image with a tool that stores the disk as it is")
		case e.regular():
			b.disk, b.rest, b.start, b.from = e, e.size, t.unpacked.Bytes(), t
			return true, others, nil
		case b.view.target != "":
			return false, nil, fmt.Errorf("/%.100s is no regular file: %w", printable(e.name), errdef.ErrUnsupported)
		}
	}
	if err := t.finish(); err != nil {
		return false, nil, err
	}
	b.view.endLayer()
	return false, others, nil
}

// swap makes t the layer that is being read.
func (b *blob) swap(t *tarball) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tar != nil {
		b.tar.close()
	}
	if b.tar = t; b.closed {
		t.close()
	}
}

func (b *blob) Info() source.Info {
	i := source.Info{Size: b.disk.size, Name: path.Base(b.disk.name), Identity: b.image.digest.String(), Strong: true, Reopenable: true,
		Labels: b.image.config.labels()}
	if b.src.path != "" {
		i.Identity += " /" + b.src.path
	}
	return i
}

// Read reads the disk. At its end all else is read that can tell that it was not the right one.
func (b *blob) Read(p []byte) (int, error) {
	if b.err != nil || len(p) == 0 {
		return 0, b.err
	}
	if err := b.ended(); err != nil {
		b.err = b.src.fail("read", err)
		return 0, b.err
	}
	if b.rest == 0 {
		b.err = io.EOF
		if err := b.finish(); err != nil {
			b.err = b.src.fail("read", b.cause(err))
		}
		return 0, b.err
	}
	n, err := b.tar.read(p[:min(int64(len(p)), b.rest)])
	b.rest -= int64(n)
	if err != nil && (err != io.EOF || b.rest > 0) {
		b.err = b.src.fail("read", b.cause(b.tar.wrong(err)))
	}
	return n, b.err
}

// ended is the reason why nothing more can be read, nil while there is none.
func (b *blob) ended() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return fs.ErrClosed
	}
	return b.ctx.Err()
}

// cause prefers the end of the context to what it broke.
func (b *blob) cause(err error) error {
	if e := b.ended(); e != nil && !errors.Is(err, errdef.ErrDigestMismatch) {
		return e
	}
	return err
}

// finish reads the rest of the disk's layer, and of the layers below what may hold another disk.
func (b *blob) finish() error {
	all := []string{b.disk.name}
	add := func(e entry) {
		if !slices.Contains(all, e.name) && !(e.hard() && slices.Contains(all, e.link)) {
			all = append(all, e.name)
		}
	}
	if err := b.tar.leave(b.disk.size); err != nil {
		return err
	}
	for {
		e, err := b.tar.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		hidden, err := b.view.see(e.name, e.kind == tar.TypeDir)
		if err != nil {
			return err
		}
		switch {
		case e.name == b.disk.name:
			return corrupt("/%.100s is twice in %s", printable(e.name), b.tar.layer)
		case hidden || b.at.alone || !b.view.wanted(e.name) || !b.view.visible(e.name):
		case e.regular() || e.hard():
			add(e)
		}
	}
	if err := b.tar.finish(); err != nil {
		return err
	}
	b.view.endLayer()
	for i := b.at.layer - 1; i >= 0 && !b.at.alone && !b.view.closed(); i-- {
		_, others, err := b.layer(i, false)
		if err != nil {
			return err
		}
		for _, o := range others {
			add(o.entry)
		}
	}
	if err := several(all); err != nil {
		return err
	}
	b.at.alone = true
	b.remember()
	return nil
}

// Close ends all reads.
func (b *blob) Close() error {
	b.closing.Do(func() {
		b.cancel(fs.ErrClosed)
		b.mu.Lock()
		b.closed = true
		t := b.tar
		b.mu.Unlock()
		if t != nil {
			t.close()
		}
		_ = b.store.Close()
	})
	return nil
}
