package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func (s snapshot) message() *csi.Snapshot {
	return &csi.Snapshot{
		SnapshotId: s.ID, SourceVolumeId: s.Volume, SizeBytes: s.Size, CreationTime: timestamppb.New(s.Created), ReadyToUse: true,
	}
}

func (d *driver) CreateSnapshot(_ context.Context, r *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	if r.Name == "" || r.SourceVolumeId == "" {
		return nil, status.Error(codes.InvalidArgument, "name or source is missing")
	}
	defer d.locks.lock("name/" + r.Name)()
	for _, s := range d.store.snapshots() {
		if s.Name != r.Name {
			continue
		}
		if s.Volume != r.SourceVolumeId {
			return nil, status.Errorf(codes.AlreadyExists, "%s exists with another source", s.Name)
		}
		return &csi.CreateSnapshotResponse{Snapshot: s.message()}, nil
	}

	defer d.locks.lock(r.SourceVolumeId)()
	v, ok := d.store.volume(r.SourceVolumeId)
	if !ok {
		return nil, status.Errorf(codes.NotFound, "no volume %s", r.SourceVolumeId)
	}
	s := snapshot{ID: d.store.id("snapshot"), Name: r.Name, Claim: v.Claim, Volume: v.ID, Size: v.Size, Created: time.Now()}
	s.Image = filepath.Join(filepath.Dir(v.Image), s.ID+".img")
	if err := copyImage(v, v.Image, s.Image); err != nil {
		return nil, err
	}
	return &csi.CreateSnapshotResponse{Snapshot: s.message()}, d.store.putSnapshot(s)
}

func (d *driver) DeleteSnapshot(_ context.Context, r *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	if r.SnapshotId == "" {
		return nil, status.Error(codes.InvalidArgument, "snapshot id is missing")
	}
	defer d.locks.lock(r.SnapshotId)()
	s, ok := d.store.snapshot(r.SnapshotId)
	if !ok {
		return &csi.DeleteSnapshotResponse{}, nil
	}
	if err := os.Remove(s.Image); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &csi.DeleteSnapshotResponse{}, d.store.remove(s.ID)
}

func (d *driver) ListSnapshots(_ context.Context, r *csi.ListSnapshotsRequest) (*csi.ListSnapshotsResponse, error) {
	var all []snapshot
	for _, s := range d.store.snapshots() {
		if (r.SnapshotId == "" || r.SnapshotId == s.ID) && (r.SourceVolumeId == "" || r.SourceVolumeId == s.Volume) {
			all = append(all, s)
		}
	}
	part, next, err := page(all, func(s snapshot) string { return s.ID }, r.StartingToken, r.MaxEntries)
	if err != nil {
		return nil, err
	}
	resp := &csi.ListSnapshotsResponse{NextToken: next}
	for _, s := range part {
		resp.Entries = append(resp.Entries, &csi.ListSnapshotsResponse_Entry{Snapshot: s.message()})
	}
	return resp, nil
}
