package vmdk

import (
	"context"
	"errors"
	"fmt"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/blob"
)

// A multi is a disk that lies in several files. It is no image.Mapper: there is no one blob.
type multi struct {
	*disk
	files *pool
}

// Close closes the files.
func (m *multi) Close() error { return m.files.Close() }

// descriptor reads a descriptor that is a file.
func (p prefix) descriptor() (*descriptor, error) {
	if p.Size < 0 && len(p.Head) == blob.HeadLen {
		return nil, unsupported("the descriptor is longer than %d bytes, which is all that was read", blob.HeadLen)
	}
	size := max(p.Size, int64(len(p.Head)))
	if size > maxDescriptor {
		return nil, fmt.Errorf("vmdk: descriptor of %d bytes, more than %d: %w", size, maxDescriptor, errdef.ErrLimit)
	}
	b, err := p.At(0, size, "descriptor")
	if err != nil {
		return nil, err
	}
	return parseDescriptor(b)
}

// openDescriptor opens a disk by its descriptor. Every file is opened once, so that what is missing or does not fit is
// known before anything is read.
func openDescriptor(ctx context.Context, p prefix, o Options) (_ image.Image, err error) {
	d, err := p.descriptor()
	if err != nil {
		return nil, err
	}
	if err := d.readable(o.Parent != nil); err != nil {
		return nil, err
	}
	if err := d.multiple(); err != nil {
		return nil, err
	}
	sectors, ok := d.sectors()
	if !ok {
		return nil, corrupt("the extents are larger than any disk")
	}
	if err := o.Limits.CheckVirtualSize(sectors * sector); err != nil {
		return nil, fmt.Errorf("vmdk: %w", err)
	}
	if o.Sibling == nil {
		return nil, errNoSiblings(d.extents[0].name)
	}
	mem := &budget{limits: o.Limits}
	if err := mem.take("list of extents", int64(len(d.extents))*extentOverhead); err != nil {
		return nil, err
	}
	files := newPool(o.Sibling)
	defer func() {
		if err != nil {
			err = errors.Join(err, files.Close())
		}
	}()
	members := map[string]*member{} // a flat file may hold several extents
	extents := make([]*extent, len(d.extents))
	for i := range d.extents {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		x := &d.extents[i]
		m := members[x.name]
		if m == nil {
			m = files.member(x.name)
			members[x.name] = m
		} else if !x.flat() {
			return nil, corrupt("extent file %q is used twice", x.name)
		}
		if extents[i], err = openExtent(ctx, m, x, mem); err != nil {
			return nil, err
		}
	}
	return d.over(newDisk(extents, o), files, o)
}

// errNoSiblings refuses a descriptor alone; name is one of the files that are missing, if that is known.
func errNoSiblings(name string) error {
	such := ""
	if name != "" {
		such = fmt.Sprintf(", such as %q,", name)
	}
	return errdef.WithHint(unsupported("the disk lies in other files%s which cannot be reached from here", such),
		"import the descriptor from a folder or a web server with ranges that has all files, or put the disk into one file first: qemu-img convert -O qcow2 IN OUT")
}

// extentOverhead is what an extent takes in memory beside its directory, about.
const extentOverhead = 512

func (x *extentLine) flat() bool { return x.kind == "FLAT" || x.kind == "VMFS" }

// openExtent opens the file of one line, for as long as it takes to look at it.
func openExtent(ctx context.Context, m *member, x *extentLine, mem *budget) (*extent, error) {
	f, err := m.acquire()
	if err != nil {
		return nil, err
	}
	defer m.release()
	e, err := x.open(ctx, m, f, mem)
	if err != nil {
		return nil, fmt.Errorf("extent file %q: %w", x.name, err)
	}
	return e, nil
}

func (x *extentLine) open(ctx context.Context, m *member, f File, mem *budget) (*extent, error) {
	size := x.sectors * sector
	if x.flat() {
		at := x.offset * sector
		if err := blob.Inside("vmdk", "flat extent", at, size, m.size); err != nil {
			return nil, err
		}
		e := &extent{ra: m, stored: m.size, name: x.name, size: size, flat: at}
		if _, ok := f.(image.Extenter); ok {
			e.holes = m
		}
		return e, nil
	}
	p, err := readPrefix(ctx, m, m.size)
	if err != nil {
		return nil, err
	}
	var e *extent
	switch k := p.kind(); {
	case x.kind == "SESPARSE":
		e, err = newSE(ctx, p, mem)
	case k == kindCOWD:
		e, err = newCOWD(ctx, p, mem)
	case k == kindSparse:
		var h *sparseHeader
		if h, err = p.sparseHeader(); err == nil {
			e, err = newSparse(ctx, m, m.size, h, mem)
		}
	default:
		return nil, corrupt("no magic of a sparse extent: %q", p.Head[:min(len(p.Head), 4)])
	}
	if err != nil {
		return nil, err
	}
	if e.size != size {
		return nil, corrupt("its header tells %d bytes, the descriptor %d", e.size, size)
	}
	e.name = x.name
	return e, nil
}
