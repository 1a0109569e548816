package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// run returns what a command says, and an error of gRPC that has it too.
func run(name string, args ...string) (string, error) {
	b, err := exec.Command(name, args...).CombinedOutput()
	out := strings.TrimSpace(string(b))
	if err != nil {
		return out, status.Errorf(codes.Internal, "%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return out, nil
}

// attach gives an image a loop device.
func attach(image string) (string, error) { return run("losetup", "--find", "--show", image) }

// attached returns the loop device of an image, or nothing.
func attached(image string) (string, error) {
	out, err := run("losetup", "-n", "-O", "NAME", "-j", image)
	name, _, _ := strings.Cut(out, "\n")
	return strings.TrimSpace(name), err
}

// copyImage copies a volume's or snapshot's image, as blocks shared with the first where the filesystem can. What a
// staged source still holds in memory is written first, and a filesystem stands still for as long.
func copyImage(v volume, from, to string) error {
	if v.Staging != "" {
		if _, err := run("fsfreeze", "-f", v.Staging); err != nil {
			return err
		}
		defer run("fsfreeze", "-u", v.Staging)
	}
	if v.Device != "" {
		if _, err := run("blockdev", "--flushbufs", v.Device); err != nil {
			return err
		}
	}
	_, err := run("cp", "--sparse=always", "--reflink=auto", from, to)
	if err != nil {
		os.Remove(to)
	}
	return err
}

// format makes a filesystem on a device that has none, and returns the one that is there.
func format(device, fs string) (string, error) {
	have, _ := run("blkid", "-p", "-s", "TYPE", "-o", "value", device) // exit 2: nothing found
	if have != "" {
		return have, nil
	}
	args := map[string][]string{
		"ext4": {"-q", device},
		"xfs":  {"--unsupported", "-q", device}, // volumes below 300 MiB
	}[fs]
	if args == nil {
		return "", status.Errorf(codes.InvalidArgument, "filesystem %q; there are ext4 and xfs", fs)
	}
	_, err := run("mkfs."+fs, args...)
	return fs, err
}

// mountVolume mounts a volume's filesystem, as large as the volume.
func mountVolume(device, fs, target string, flags []string) error {
	switch fs {
	case "ext4":
		// Growing ext4 while it is mounted needs CAP_SYS_RESOURCE, which a container may not have.
		if _, err := run("e2fsck", "-fp", device); err != nil {
			return err
		}
		if _, err := run("resize2fs", device); err != nil {
			return err
		}
	case "xfs":
		flags = append([]string{"nouuid"}, flags...) // a clone has the identity of its source
	}
	args := []string{"-t", fs}
	if len(flags) > 0 {
		args = append(args, "-o", strings.Join(flags, ","))
	}
	if _, err := run("mount", append(args, device, target)...); err != nil {
		return err
	}
	if fs == "xfs" {
		_, err := run("xfs_growfs", target)
		return err
	}
	return nil
}

// bind mounts a file or folder at another place.
func bind(source, target string, readonly bool) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return status.Errorf(codes.Internal, "bind %s at %s: %v", source, target, err)
	}
	if readonly {
		if err := unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			return status.Errorf(codes.Internal, "make %s read-only: %v", target, err)
		}
	}
	return nil
}

// unmount undoes one or more mounts at a place, if there are any.
func unmount(target string) error {
	for {
		is, err := mounted(target)
		if err != nil || !is {
			return err
		}
		if err := unix.Unmount(target, 0); err != nil {
			return status.Errorf(codes.Internal, "unmount %s: %v", target, err)
		}
	}
}

// mounted asks the kernel's table, which knows bind mounts too.
func mounted(target string) (bool, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return false, status.Error(codes.Internal, err.Error())
	}
	defer f.Close()
	target = filepath.Clean(target)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		// The mount point is the fifth word; a space in it would be \040, and the kubelet's paths have none.
		if words := strings.Fields(lines.Text()); len(words) > 4 && words[4] == target {
			return true, nil
		}
	}
	return false, lines.Err()
}
