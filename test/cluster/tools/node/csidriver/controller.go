package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	mib        = 1 << 20
	minVolume  = 16 * mib // what mkfs.xfs --unsupported still takes
	poolOption = "pool"   // of a class: the pool of its volumes
)

func checkCapabilities(all []*csi.VolumeCapability) error {
	if len(all) == 0 {
		return status.Error(codes.InvalidArgument, "volume capabilities are missing")
	}
	for _, c := range all {
		if c.GetBlock() == nil && c.GetMount() == nil {
			return status.Error(codes.InvalidArgument, "access type is missing")
		}
		switch c.GetAccessMode().GetMode() {
		case csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER, csi.VolumeCapability_AccessMode_MULTI_NODE_SINGLE_WRITER:
			if c.GetBlock() == nil {
				return status.Error(codes.InvalidArgument, "writing from many nodes needs a Block volume")
			}
		}
	}
	return nil
}

// sizeFor is the size of a volume for a range of capacities.
func (d *driver) sizeFor(r *csi.CapacityRange) (int64, error) {
	required, limit := r.GetRequiredBytes(), r.GetLimitBytes()
	if required < 0 || limit < 0 {
		return 0, status.Error(codes.InvalidArgument, "negative size")
	}
	if required > d.maxBytes {
		return 0, status.Errorf(codes.OutOfRange, "%d bytes asked, %d are the most", required, d.maxBytes)
	}
	size := max((required+mib-1)/mib*mib, minVolume)
	if limit > 0 && size > limit {
		return 0, status.Errorf(codes.OutOfRange, "%d bytes are more than the limit of %d", size, limit)
	}
	return size, nil
}

func (d *driver) CreateVolume(_ context.Context, r *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	if r.Name == "" {
		return nil, status.Error(codes.InvalidArgument, "name is missing")
	}
	if err := checkCapabilities(r.VolumeCapabilities); err != nil {
		return nil, err
	}
	pool, ok := d.pools[r.Parameters[poolOption]]
	if !ok {
		return nil, status.Errorf(codes.InvalidArgument, "no pool %q", r.Parameters[poolOption])
	}
	size, err := d.sizeFor(r.CapacityRange)
	if err != nil {
		return nil, err
	}
	fromSnapshot := r.GetVolumeContentSource().GetSnapshot().GetSnapshotId()
	fromVolume := r.GetVolumeContentSource().GetVolume().GetVolumeId()

	defer d.locks.lock("name/" + r.Name)()
	for _, v := range d.store.volumes() {
		if v.Name != r.Name {
			continue
		}
		limit := r.GetCapacityRange().GetLimitBytes()
		if v.Size < r.GetCapacityRange().GetRequiredBytes() || (limit > 0 && v.Size > limit) ||
			v.FromSnapshot != fromSnapshot || v.FromVolume != fromVolume {
			return nil, status.Errorf(codes.AlreadyExists, "%s exists with another size or source", v.Name)
		}
		return d.created(v, r), nil
	}

	v := volume{
		ID: d.store.id("volume"), Name: r.Name, Claim: claimOf(r.Parameters), Size: size,
		FromSnapshot: fromSnapshot, FromVolume: fromVolume, Published: map[string]bool{},
	}
	v.Image = filepath.Join(pool, v.ID+".img")
	if err := d.fill(v); err != nil {
		return nil, err
	}
	if err := d.store.putVolume(v); err != nil {
		return nil, err
	}
	return d.created(v, r), nil
}

// fill makes the image of a new volume: of its source, or of zeros.
func (d *driver) fill(v volume) error {
	var source volume
	image, size := "", int64(0)
	switch {
	case v.FromSnapshot != "":
		defer d.locks.lock(v.FromSnapshot)()
		s, ok := d.store.snapshot(v.FromSnapshot)
		if !ok {
			return status.Errorf(codes.NotFound, "no snapshot %s", v.FromSnapshot)
		}
		image, size = s.Image, s.Size
	case v.FromVolume != "":
		defer d.locks.lock(v.FromVolume)()
		var ok bool
		if source, ok = d.store.volume(v.FromVolume); !ok {
			return status.Errorf(codes.NotFound, "no volume %s", v.FromVolume)
		}
		image, size = source.Image, source.Size
	}
	if size > v.Size {
		return status.Errorf(codes.OutOfRange, "the source has %d bytes, the volume %d", size, v.Size)
	}
	if image != "" {
		if err := copyImage(source, image, v.Image); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(v.Image, os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = errors.Join(f.Truncate(v.Size), f.Close())
	}
	if err != nil {
		os.Remove(v.Image)
		return status.Error(codes.Internal, err.Error())
	}
	return nil
}

func (d *driver) created(v volume, r *csi.CreateVolumeRequest) *csi.CreateVolumeResponse {
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{
		VolumeId: v.ID, CapacityBytes: v.Size, ContentSource: r.VolumeContentSource,
		AccessibleTopology: []*csi.Topology{d.topology()},
	}}
}

func (d *driver) DeleteVolume(_ context.Context, r *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	if r.VolumeId == "" {
		return nil, status.Error(codes.InvalidArgument, "volume id is missing")
	}
	defer d.locks.lock(r.VolumeId)()
	v, ok := d.store.volume(r.VolumeId)
	if !ok {
		return &csi.DeleteVolumeResponse{}, nil
	}
	if v.Device != "" {
		return nil, status.Errorf(codes.FailedPrecondition, "volume %s is in use on the node", v.ID)
	}
	if err := os.Remove(v.Image); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &csi.DeleteVolumeResponse{}, d.store.remove(v.ID)
}

func (d *driver) ValidateVolumeCapabilities(_ context.Context, r *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	if r.VolumeId == "" || len(r.VolumeCapabilities) == 0 {
		return nil, status.Error(codes.InvalidArgument, "volume id or capabilities are missing")
	}
	if _, ok := d.store.volume(r.VolumeId); !ok {
		return nil, status.Errorf(codes.NotFound, "no volume %s", r.VolumeId)
	}
	if err := checkCapabilities(r.VolumeCapabilities); err != nil {
		return &csi.ValidateVolumeCapabilitiesResponse{Message: err.Error()}, nil
	}
	return &csi.ValidateVolumeCapabilitiesResponse{
		Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{VolumeCapabilities: r.VolumeCapabilities},
	}, nil
}

func (d *driver) ControllerExpandVolume(_ context.Context, r *csi.ControllerExpandVolumeRequest) (*csi.ControllerExpandVolumeResponse, error) {
	if r.VolumeId == "" || r.CapacityRange == nil {
		return nil, status.Error(codes.InvalidArgument, "volume id or capacity is missing")
	}
	defer d.locks.lock(r.VolumeId)()
	v, ok := d.store.volume(r.VolumeId)
	if !ok {
		return nil, status.Errorf(codes.NotFound, "no volume %s", r.VolumeId)
	}
	size, err := d.sizeFor(r.CapacityRange)
	if err != nil {
		return nil, err
	}
	if size > v.Size {
		if err := os.Truncate(v.Image, size); err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
		v.Size = size
		if err := d.store.putVolume(v); err != nil {
			return nil, err
		}
	}
	return &csi.ControllerExpandVolumeResponse{CapacityBytes: v.Size, NodeExpansionRequired: true}, nil
}

func (d *driver) GetCapacity(_ context.Context, r *csi.GetCapacityRequest) (*csi.GetCapacityResponse, error) {
	pool, ok := d.pools[r.Parameters[poolOption]]
	if !ok {
		return &csi.GetCapacityResponse{}, nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(pool, &st); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &csi.GetCapacityResponse{
		AvailableCapacity: int64(st.Bavail) * st.Bsize, MaximumVolumeSize: wrapperspb.Int64(d.maxBytes),
	}, nil
}

func (d *driver) ListVolumes(_ context.Context, r *csi.ListVolumesRequest) (*csi.ListVolumesResponse, error) {
	part, next, err := page(d.store.volumes(), func(v volume) string { return v.ID }, r.StartingToken, r.MaxEntries)
	if err != nil {
		return nil, err
	}
	resp := &csi.ListVolumesResponse{NextToken: next}
	for _, v := range part {
		resp.Entries = append(resp.Entries, &csi.ListVolumesResponse_Entry{
			Volume: &csi.Volume{VolumeId: v.ID, CapacityBytes: v.Size, AccessibleTopology: []*csi.Topology{d.topology()}},
		})
	}
	return resp, nil
}

// page cuts one page out of a list. A token is the id that its page begins with.
func page[T any](all []T, id func(T) string, token string, most int32) (part []T, next string, err error) {
	if token != "" {
		for len(all) > 0 && id(all[0]) != token {
			all = all[1:]
		}
		if len(all) == 0 {
			return nil, "", status.Errorf(codes.Aborted, "no page begins with %q", token)
		}
	}
	if most > 0 && int(most) < len(all) {
		return all[:most], id(all[most]), nil
	}
	return all, "", nil
}
