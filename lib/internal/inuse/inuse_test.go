package inuse

import (
	"fmt"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

var sysTree = fstest.MapFS{
	"sys/dev/block/8:0/uevent":                 {Data: []byte("MAJOR=8\nDEVNAME=sda\nDEVTYPE=disk\n")},
	"sys/dev/block/8:0/size":                   {Data: []byte("1\n")},
	"sys/dev/block/8:0/sda1/partition":         {Data: []byte("1\n")},
	"sys/dev/block/8:0/sda1/dev":               {Data: []byte("8:1\n")},
	"sys/dev/block/8:0/sda2/partition":         {Data: []byte("2\n")},
	"sys/dev/block/8:0/sda2/dev":               {Data: []byte("8:2\n")},
	"sys/dev/block/8:0/sda2/holders/dm-0/size": {Data: []byte("1\n")},
	"sys/dev/block/8:16/uevent":                {Data: []byte("DEVNAME=sdb\n")},
	"sys/dev/block/8:16/holders/md0/size":      {Data: []byte("1\n")},
	"sys/dev/block/8:32/uevent":                {Data: []byte("DEVNAME=sdc\n")},
	"sys/block/dm-0/dm/name":                   {Data: []byte("vg-root\n")},
	"proc/self/mountinfo": {Data: []byte("22 1 8:1 / /my\\040disk rw,relatime shared:1 - ext4 /dev/sda1 rw\n" +
		"26 1 8:2 / /archive rw,relatime - ext4 /dev/sda2 ro,norecovery\n" +
		"23 1 0:44 / /pool rw - btrfs /dev/sdc rw\n24 1 8:3\n25 1 0:5 / /x rw shared:2 -\n")},
	"proc/swaps": {Data: []byte("Filename Type Size Used Priority\n/dev/sdc partition 1 0 -2\n")},
}

func TestDevice(t *testing.T) {
	for number, want := range map[[2]uint32][]string{
		{8, 0}:  {"sda1 mounted at /my disk", "sda2 held by dm-0 (vg-root)", "sda2 mounted at /archive"},
		{8, 1}:  {"mounted at /my disk"},
		{8, 16}: {"held by md0"},
		{8, 32}: {"mounted at /pool", "used as swap"},
		{9, 0}:  nil,
	} {
		t.Run(fmt.Sprint(number), func(t *testing.T) {
			if diff := cmp.Diff(want, By(Device(sysTree, number[0], number[1]))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Only what the filesystem itself says is read-only: a mount that is may have another beside it that is not.
func TestReadOnly(t *testing.T) {
	var ro []string
	for _, u := range Device(sysTree, 8, 0) {
		if u.ReadOnly {
			ro = append(ro, u.By)
		}
	}
	if diff := cmp.Diff([]string{"sda2 mounted at /archive"}, ro); diff != "" {
		t.Error(diff)
	}
}
