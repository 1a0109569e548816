package content_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/content"
	"github.com/cdictl/cdictl/lib/internal/testimage"
)

// inspect looks at a file.
func inspect(t *testing.T, path string, o content.Options) content.Summary {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	s, err := content.Inspect(t.Context(), f, st.Size(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// blank makes a sparse file.
func blank(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestFilesystems compares with blkid what the tools of many filesystems make, alone and in a partition.
func TestFilesystems(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "file"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		size int64 // 0: the tool makes the file
		make string
		want content.Filesystem // what blkid does not tell, or tells otherwise; with Label and UUID blkid has none
	}{
		{"ext2", 8 << 20, "mke2fs -q -F -t ext2 -L one DISK", content.Filesystem{Size: 8 << 20}},
		{"ext3", 16 << 20, "mke2fs -q -F -t ext3 -L sixteen-letters- DISK", content.Filesystem{Size: 16 << 20}},
		{"ext4", 16 << 20, "mke2fs -q -F -t ext4 DISK", content.Filesystem{Size: 16 << 20}},
		{"ext4 wide", 16 << 20, "mke2fs -q -F -t ext4 -b 4096 -O 64bit -L wide DISK", content.Filesystem{Size: 16 << 20}},
		{"xfs", 320 << 20, "mkfs.xfs -q -L rootfs DISK", content.Filesystem{Size: 320 << 20}},
		{"btrfs", 128 << 20, "mkfs.btrfs -q -L pool DISK", content.Filesystem{Size: 128 << 20}},
		{"ntfs", 16 << 20, "mkntfs -q -F -L Windows DISK", content.Filesystem{Size: 16<<20 - 512}},
		{"ntfs small clusters", 8 << 20, "mkntfs -q -F -c 512 -L x DISK", content.Filesystem{Size: 8<<20 - 512}},
		{"fat12", 4 << 20, "mkfs.vfat -F 12 -n TWELVE DISK", content.Filesystem{Version: "FAT12", Size: 4 << 20}},
		{"fat16", 32 << 20, "mkfs.vfat -F 16 -n SIXTEEN DISK", content.Filesystem{Version: "FAT16", Size: 32 << 20}},
		{"fat32", 64 << 20, "mkfs.vfat -F 32 -n EFI DISK", content.Filesystem{Version: "FAT32", Size: 64 << 20}},
		{"fat16 4096", 64 << 20, "mkfs.vfat -F 16 -S 4096 -s 1 -n BIG DISK", content.Filesystem{Version: "FAT16", Size: 64 << 20}},
		{"exfat", 16 << 20, "mkfs.exfat DISK", content.Filesystem{Version: "1.0", Size: 16 << 20}},
		{"f2fs", 64 << 20, "mkfs.f2fs -q -l flash DISK", content.Filesystem{Version: "-", Size: 64 << 20}},
		{"erofs", 0, "mkfs.erofs -U 6d1c5ee3-8b0a-4a5f-9a69-7e3a5f0f2a11 DISK FOLDER", content.Filesystem{Size: -1}},
		{"squashfs", 0, "mksquashfs FOLDER DISK -quiet -no-progress", content.Filesystem{Version: "4.0", Size: -1}},
		{"ufs", 0, "makefs -t ffs -o version=2 -s 8m DISK FOLDER", content.Filesystem{}},
		{"swap", 4 << 20, "mkswap -q -L swap1 DISK", content.Filesystem{Size: 4 << 20}},
		{"swap 8192", 4 << 20, "mkswap -q -p 8192 DISK", content.Filesystem{Size: 4 << 20}},
		{"swap 64K", 4 << 20, "mkswap -q -p 65536 DISK", content.Filesystem{Size: 4 << 20}},
		{"iso9660", 0, "xorriso -as mkisofs -quiet -V CONFIG-2 -J -R -o DISK FOLDER", content.Filesystem{Version: "-", UUID: "-", Size: -1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := strings.Fields(c.make)
			testimage.Require(t, args[0], "blkid", "sfdisk")
			path := filepath.Join(t.TempDir(), "new")
			if c.size > 0 {
				path = blank(t, c.size)
			}
			for i, a := range args {
				args[i] = strings.NewReplacer("DISK", path, "FOLDER", folder).Replace(a)
			}
			if _, err := testimage.Run(t.Context(), args[0], args[1:]...); err != nil {
				t.Fatal(err)
			}
			got := inspect(t, path, content.Options{})
			if got.Filesystem == nil || got.Table != nil || got.Problems != nil || got.Partial || got.Blank {
				t.Fatalf("got %+v", got)
			}
			compare(t, *got.Filesystem, c.want, blkid(t, path))
			if c.size <= 128<<20 { // to copy more takes its time
				inPartition(t, path, *got.Filesystem)
			}
		})
	}
}

// compare holds what is told against blkid's answer.
func compare(t *testing.T, got, want content.Filesystem, oracle map[string]string) {
	t.Helper()
	want.Type, want.Label = oracle["TYPE"], oracle["LABEL"]
	if want.Version == "" {
		want.Version = oracle["VERSION"]
	}
	if want.UUID == "" {
		want.UUID = oracle["UUID"]
	}
	for _, field := range []*string{&want.Version, &want.UUID} {
		if *field == "-" {
			*field = ""
		}
	}
	switch got.Type {
	case "ext2", "ext3", "ext4":
		want.Version = "" // the revision of the superblock: 1.0 for thirty years
	}
	if want.Size == -1 && got.Size > 0 {
		want.Size = got.Size
	}
	if got != want {
		t.Fatalf("got  %+v\nwant %+v\nblkid %v", got, want, oracle)
	}
}

// blkid is what blkid says of a file.
func blkid(t *testing.T, path string) map[string]string {
	t.Helper()
	out, err := testimage.Run(t.Context(), "blkid", "-p", "-o", "export", path)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		m[name] = strings.ReplaceAll(value, "\\", "")
	}
	return m
}

// inPartition wants the same of a filesystem in the first of two partitions.
func inPartition(t *testing.T, path string, want content.Filesystem) {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	const start = 1 << 20
	size := (st.Size() + 1<<20 - 1) &^ (1<<20 - 1)
	disk := blank(t, start+size+2<<20)
	sfdisk(t, disk, fmt.Sprintf("label: gpt\nstart=2048, size=%d, type=linux, name=it\ntype=linux\n", size/512))
	if _, err := testimage.Run(t.Context(), "dd", "status=none", "if="+path, "of="+disk, "bs=256K", "seek=4", "conv=sparse,notrunc"); err != nil {
		t.Fatal(err)
	}
	got := inspect(t, disk, content.Options{})
	if got.Table == nil || len(got.Table.Partitions) != 2 || got.Problems != nil || got.Partial || got.Filesystem != nil {
		t.Fatalf("in a partition: %+v", got)
	}
	p := got.Table.Partitions
	if p[0].Filesystem == nil || *p[0].Filesystem != want || p[0].Start != start || p[0].Size != size || p[1].Filesystem != nil {
		t.Fatalf("in a partition: %+v, %+v\nalone %+v", p, p[0].Filesystem, want)
	}
}

// sfdisk runs a script on a file.
func sfdisk(t *testing.T, disk, script string) {
	t.Helper()
	testimage.Require(t, "sfdisk")
	cmd := exec.CommandContext(t.Context(), "sfdisk", "-q", disk)
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v: %s", err, out)
	}
}

// TestTables compares with sfdisk.
func TestTables(t *testing.T) {
	for _, c := range []struct {
		name, script string
	}{
		{"gpt", "label: gpt\nlabel-id: 5EEAD9A9-0000-4A1E-A1D7-520D00531306\n" +
			"size=1M, type=21686148-6449-6E6F-744E-656564454649\nsize=8M, type=uefi, name=\"EFI System Partition\"\n" +
			"size=16M, type=linux, name=\"Wörter und 漢字 und 🖴\", attrs=\"LegacyBIOSBootable\"\ntype=lvm\n"},
		{"gpt of holes", "label: gpt\n3: size=1M\n100: size=1M\n128: size=1M\n"},
		{"gpt of 200", "label: gpt\ntable-length: 256\n" + strings.Repeat("size=128K\n", 200)},
		{"mbr", "label: dos\nlabel-id: 0xdeadbeef\nsize=8M, type=7, bootable\nsize=16M, type=83\ntype=82\n"},
		{"mbr with logical ones", "label: dos\nsize=4M, type=83\nsize=20M, type=5\nsize=2M, type=82\ntype=8e\nsize=3M, type=83\nsize=3M, type=c\nsize=3M, type=83\n"},
		{"mbr with many logical ones", "label: dos\ntype=f\n" + strings.Repeat("size=64K, type=83\n", 50)},
		{"mbr with an extended one that is empty", "label: dos\ntype=5\n"},
		{"empty gpt", "label: gpt\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			disk := blank(t, 256<<20)
			sfdisk(t, disk, c.script)
			got := inspect(t, disk, content.Options{Budget: 8 << 20})
			if got.Table == nil || got.Partial || got.Problems != nil {
				t.Fatalf("got %+v", got)
			}
			out, err := testimage.Run(t.Context(), "sfdisk", "--json", disk)
			if err != nil {
				t.Fatal(err)
			}
			want := theirs(t, out, disk)
			have := tell(*got.Table)
			if have != want {
				t.Fatalf("got\n%s\nsfdisk\n%s", have, want)
			}
		})
	}
}

// TestISO is of an ISO 9660 image with a partition table and a filesystem behind it.
func TestISO(t *testing.T) {
	testimage.Require(t, "xorriso", "sfdisk", "mkfs.vfat")
	dir, esp := t.TempDir(), blank(t, 2<<20)
	if _, err := testimage.Run(t.Context(), "mkfs.vfat", "-n", "ESP", esp); err != nil {
		t.Fatal(err)
	}
	for table, more := range map[string][]string{"mbr": nil, "gpt": {"-appended_part_as_gpt"}} {
		path := filepath.Join(dir, table)
		args := append([]string{"-as", "mkisofs", "-quiet", "-V", "HYBRID", "-append_partition", "2", "0xef", esp, "-o", path}, more...)
		if _, err := testimage.Run(t.Context(), "xorriso", append(args, t.TempDir())...); err != nil {
			t.Fatal(err)
		}
		got := inspect(t, path, content.Options{})
		if got.Filesystem == nil || got.Filesystem.Type != "iso9660" || got.Filesystem.Label != "HYBRID" || got.Table == nil || got.Problems != nil {
			t.Fatalf("%s: got %+v", table, got)
		}
		if fs := got.Table.Partitions[1].Filesystem; fs == nil || fs.Label != "ESP" {
			t.Errorf("%s: second partition %+v", table, fs)
		}
		out, err := testimage.Run(t.Context(), "sfdisk", "--json", path)
		if err != nil {
			t.Fatal(err)
		}
		if have, want := tell(*got.Table), theirs(t, out, path); have != want {
			t.Errorf("got\n%s\nsfdisk\n%s", have, want)
		}
	}
}

// tell is a table in lines.
func tell(t content.Table) string {
	var b strings.Builder
	fmt.Fprintln(&b, t.Type, t.ID, t.SectorSize)
	for _, p := range t.Partitions {
		fmt.Fprintf(&b, "%d %s %q %s boot %v [%d,+%d)\n", p.Number, p.Type, p.Name, p.ID, p.Bootable, p.Start, p.Size)
	}
	return b.String()
}

// theirs is what sfdisk has, in the same lines.
func theirs(t *testing.T, out []byte, disk string) string {
	t.Helper()
	var x struct {
		PartitionTable struct {
			Label, ID  string
			Partitions []struct {
				Node, Type, Name, UUID, Attrs string
				Start, Size                   int64
				Bootable                      bool
			}
		}
	}
	if err := json.Unmarshal(out, &x); err != nil {
		t.Fatal(err)
	}
	table := content.Table{Type: x.PartitionTable.Label, ID: x.PartitionTable.ID, SectorSize: 512}
	if table.Type == "dos" {
		table.Type, table.ID = "mbr", strings.TrimPrefix(table.ID, "0x00000000")
	}
	for _, p := range x.PartitionTable.Partitions {
		q := content.Partition{Type: p.Type, Name: p.Name, ID: p.UUID, Start: p.Start * 512, Size: p.Size * 512,
			Bootable: p.Bootable || strings.Contains(p.Attrs, "LegacyBIOSBootable")}
		if table.Type == "mbr" {
			q.Type = fmt.Sprintf("0x%02s", p.Type)
		}
		if _, err := fmt.Sscanf(strings.TrimPrefix(p.Node, disk), "%d", &q.Number); err != nil {
			t.Fatal(err)
		}
		table.Partitions = append(table.Partitions, q)
	}
	return tell(table)
}

// TestTypes compares the names of types with sfdisk's.
func TestTypes(t *testing.T) {
	testimage.Require(t, "sfdisk")
	names := map[string]string{}
	for _, label := range []string{"dos", "gpt"} {
		out, err := testimage.Run(t.Context(), "sfdisk", "--label", label, "-T")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(out)) {
			id, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
			if label == "dos" {
				id = fmt.Sprintf("0x%02s", id)
			}
			names[id] = name
		}
	}
	for id, name := range content.TypeNames() {
		if names[id] != name {
			t.Errorf("%s is %q here, and %q of sfdisk", id, name, names[id])
		}
	}
}
