package main

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// recover forgets what a restart of the node has undone: loop devices and mounts.
func (d *driver) recover() error {
	for _, v := range d.store.volumes() {
		if v.Device == "" {
			continue
		}
		device, err := attached(v.Image)
		if err != nil {
			return err
		}
		if device == v.Device {
			continue
		}
		v.Device, v.Staging, v.FS, v.Published = device, "", "", map[string]bool{}
		if err := d.store.putVolume(v); err != nil {
			return err
		}
	}
	return nil
}

func (d *driver) NodeStageVolume(_ context.Context, r *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	if r.VolumeId == "" || r.StagingTargetPath == "" || r.VolumeCapability == nil {
		return nil, status.Error(codes.InvalidArgument, "volume id, staging path or capability is missing")
	}
	defer d.locks.lock(r.VolumeId)()
	v, ok := d.store.volume(r.VolumeId)
	if !ok {
		return nil, status.Errorf(codes.NotFound, "no volume %s", r.VolumeId)
	}
	if v.Device == "" {
		device, err := attach(v.Image)
		if err != nil {
			return nil, err
		}
		v.Device = device
		if err := d.store.putVolume(v); err != nil {
			return nil, err
		}
	}
	m := r.VolumeCapability.GetMount()
	if m == nil || v.Staging != "" {
		return &csi.NodeStageVolumeResponse{}, nil
	}
	want := m.FsType
	if want == "" {
		want = "ext4"
	}
	have, err := format(v.Device, want)
	if err != nil {
		return nil, err
	}
	if err := mountVolume(v.Device, have, r.StagingTargetPath, m.MountFlags); err != nil {
		return nil, err
	}
	v.Staging, v.FS = r.StagingTargetPath, have
	return &csi.NodeStageVolumeResponse{}, d.store.putVolume(v)
}

func (d *driver) NodeUnstageVolume(_ context.Context, r *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	if r.VolumeId == "" || r.StagingTargetPath == "" {
		return nil, status.Error(codes.InvalidArgument, "volume id or staging path is missing")
	}
	defer d.locks.lock(r.VolumeId)()
	if err := unmount(r.StagingTargetPath); err != nil {
		return nil, err
	}
	v, ok := d.store.volume(r.VolumeId)
	if !ok || v.Device == "" {
		return &csi.NodeUnstageVolumeResponse{}, nil
	}
	if _, err := run("losetup", "-d", v.Device); err != nil {
		return nil, err
	}
	v.Device, v.Staging, v.FS = "", "", ""
	return &csi.NodeUnstageVolumeResponse{}, d.store.putVolume(v)
}

func (d *driver) NodePublishVolume(_ context.Context, r *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	if r.VolumeId == "" || r.TargetPath == "" || r.StagingTargetPath == "" || r.VolumeCapability == nil {
		return nil, status.Error(codes.InvalidArgument, "volume id, target path, staging path or capability is missing")
	}
	defer d.locks.lock(r.VolumeId)()
	v, ok := d.store.volume(r.VolumeId)
	if !ok {
		return nil, status.Errorf(codes.NotFound, "no volume %s", r.VolumeId)
	}
	if v.Device == "" {
		return nil, status.Errorf(codes.FailedPrecondition, "volume %s is not staged", v.ID)
	}
	is, err := mounted(r.TargetPath)
	if err != nil {
		return nil, err
	}
	if is && v.Published[r.TargetPath] {
		return &csi.NodePublishVolumeResponse{}, nil
	}
	if r.VolumeCapability.GetAccessMode().GetMode() == csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER && len(v.Published) > 0 {
		return nil, status.Errorf(codes.FailedPrecondition, "volume %s is published already, and its access mode allows one pod", v.ID)
	}

	source := r.StagingTargetPath
	if r.VolumeCapability.GetBlock() != nil {
		source = v.Device
		err = touch(r.TargetPath)
	} else {
		err = os.MkdirAll(r.TargetPath, 0o750)
	}
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if err := bind(source, r.TargetPath, r.Readonly); err != nil {
		return nil, err
	}
	v.Published = maps.Clone(v.Published)
	v.Published[r.TargetPath] = true
	return &csi.NodePublishVolumeResponse{}, d.store.putVolume(v)
}

// touch makes the file that a device is bound over.
func touch(name string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

func (d *driver) NodeUnpublishVolume(_ context.Context, r *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	if r.VolumeId == "" || r.TargetPath == "" {
		return nil, status.Error(codes.InvalidArgument, "volume id or target path is missing")
	}
	defer d.locks.lock(r.VolumeId)()
	if err := unmount(r.TargetPath); err != nil {
		return nil, err
	}
	if err := os.Remove(r.TargetPath); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, status.Error(codes.Internal, err.Error())
	}
	v, ok := d.store.volume(r.VolumeId)
	if !ok || !v.Published[r.TargetPath] {
		return &csi.NodeUnpublishVolumeResponse{}, nil
	}
	v.Published = maps.Clone(v.Published)
	delete(v.Published, r.TargetPath)
	return &csi.NodeUnpublishVolumeResponse{}, d.store.putVolume(v)
}

func (d *driver) NodeExpandVolume(_ context.Context, r *csi.NodeExpandVolumeRequest) (*csi.NodeExpandVolumeResponse, error) {
	if r.VolumeId == "" || r.VolumePath == "" {
		return nil, status.Error(codes.InvalidArgument, "volume id or path is missing")
	}
	defer d.locks.lock(r.VolumeId)()
	v, ok := d.store.volume(r.VolumeId)
	if !ok {
		return nil, status.Errorf(codes.NotFound, "no volume %s", r.VolumeId)
	}
	if v.Device != "" {
		if _, err := run("losetup", "-c", v.Device); err != nil {
			return nil, err
		}
	}
	var err error
	switch {
	case v.Staging == "": // a block device is as large as its image
	case v.FS == "xfs":
		_, err = run("xfs_growfs", v.Staging)
	default:
		_, err = run("resize2fs", v.Device) // without CAP_SYS_RESOURCE the kernel refuses; the next mount grows it
	}
	return &csi.NodeExpandVolumeResponse{CapacityBytes: v.Size}, err
}

func (d *driver) NodeGetVolumeStats(_ context.Context, r *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	if r.VolumeId == "" || r.VolumePath == "" {
		return nil, status.Error(codes.InvalidArgument, "volume id or path is missing")
	}
	v, ok := d.store.volume(r.VolumeId)
	fi, err := os.Stat(r.VolumePath)
	if !ok || err != nil {
		return nil, status.Errorf(codes.NotFound, "no volume %s at %s", r.VolumeId, r.VolumePath)
	}
	if !fi.IsDir() {
		return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{{Unit: csi.VolumeUsage_BYTES, Total: v.Size}}}, nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(r.VolumePath, &st); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	usage := func(unit csi.VolumeUsage_Unit, total, free, available uint64, scale int64) *csi.VolumeUsage {
		return &csi.VolumeUsage{
			Unit: unit, Total: int64(total) * scale, Used: int64(total-free) * scale, Available: int64(available) * scale,
		}
	}
	return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{
		usage(csi.VolumeUsage_BYTES, st.Blocks, st.Bfree, st.Bavail, st.Bsize),
		usage(csi.VolumeUsage_INODES, st.Files, st.Ffree, st.Ffree, 1),
	}}, nil
}
