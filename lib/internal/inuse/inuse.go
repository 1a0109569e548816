// Package inuse tells who uses a block device: its mounts, as this process sees them, swap, and devices that are built on it.
package inuse

import (
	"bufio"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A node is a device in sysfs.
type node struct {
	dir    string // below the root
	name   string // as in /dev
	number string // major:minor
}

// A Use is one use of a device or of a partition on it.
type Use struct {
	// By says it to people: "sda1 mounted at /data".
	By string
	// ReadOnly: nobody writes to the device by it.
	ReadOnly bool
}

// By is what people are told of all uses.
func By(uses []Use) []string {
	var by []string
	for _, u := range uses {
		by = append(by, u.By)
	}
	return by
}

// Device says who uses the device with this number, or a partition of it, as far as the system under root tells.
func Device(root fs.FS, major, minor uint32) []Use {
	number := fmt.Sprintf("%d:%d", major, minor)
	dir := "sys/dev/block/" + number
	nodes := []node{{dir, deviceName(root, dir), number}}
	entries, _ := fs.ReadDir(root, dir)
	for _, e := range entries {
		sub := path.Join(dir, e.Name())
		if _, err := fs.Stat(root, sub+"/partition"); err != nil {
			continue
		}
		if b, err := fs.ReadFile(root, sub+"/dev"); err == nil {
			nodes = append(nodes, node{sub, e.Name(), strings.TrimSpace(string(b))})
		}
	}
	var by []Use
	for i, n := range nodes {
		prefix := ""
		if i > 0 {
			prefix = n.name + " "
		}
		for _, u := range slices.Concat(holders(root, n), mounts(root, n), swaps(root, n)) {
			u.By = prefix + u.By
			by = append(by, u)
		}
	}
	return by
}

func deviceName(root fs.FS, dir string) string {
	b, _ := fs.ReadFile(root, dir+"/uevent")
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "DEVNAME="); ok {
			return name
		}
	}
	return ""
}

// holders are devices built on n, by the names that people gave them where they did.
func holders(root fs.FS, n node) (by []Use) {
	entries, _ := fs.ReadDir(root, n.dir+"/holders")
	for _, e := range entries {
		name := e.Name()
		if b, err := fs.ReadFile(root, "sys/block/"+name+"/dm/name"); err == nil {
			name += " (" + strings.TrimSpace(string(b)) + ")"
		}
		by = append(by, Use{By: "held by " + name})
	}
	return by
}

// mounts are where n is mounted. Some filesystems (btrfs) have a number of their own there, so the name counts too.
func mounts(root fs.FS, n node) (by []Use) {
	_ = lines(root, "proc/self/mountinfo", func(f []string) {
		dash := slices.Index(f, "-")
		if len(f) < 5 || dash < 0 {
			return
		}
		if f[2] == n.number || n.name != "" && dash+2 < len(f) && f[dash+2] == "/dev/"+n.name {
			// Behind the dash are the kind, the device and the filesystem's own options; those before it are of this mount alone.
			ro := dash+3 < len(f) && slices.Contains(strings.Split(f[dash+3], ","), "ro")
			by = append(by, Use{By: "mounted at " + unescape(f[4]), ReadOnly: ro})
		}
	})
	return by
}

func swaps(root fs.FS, n node) (by []Use) {
	_ = lines(root, "proc/swaps", func(f []string) {
		if n.name != "" && len(f) > 0 && f[0] == "/dev/"+n.name {
			by = append(by, Use{By: "used as swap"})
		}
	})
	return by
}

// lines calls f with the words of each line. What cannot be read is not told: the kernel refuses to share a device that
// is in use in any case.
func lines(root fs.FS, name string, f func(words []string)) error {
	file, err := root.Open(name)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // only read
	s := bufio.NewScanner(file)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		f(strings.Fields(s.Text()))
	}
	return s.Err()
}

// unescape undoes the octal of mountinfo.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(v))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
