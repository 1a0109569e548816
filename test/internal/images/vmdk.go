package images

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// VMDK are the kinds of VMDK.
var VMDK = []Kind{
	vmdk("monolithicSparse"),
	vmdk("monolithicSparse", "zeroed_grain=on"),
	vmdk("monolithicSparse", "compat6=on", "adapter_type=lsilogic"),
	vmdk("streamOptimized"),
	{Name: "streamOptimized-footer", Format: "vmdk", Packaged: true, write: writeStream},
	many(vmdk("monolithicFlat")),
	many(vmdk("twoGbMaxExtentSparse")),
	many(vmdk("twoGbMaxExtentFlat")),
	many(Kind{Name: "vmfs", write: writeVMFS}),
	many(Kind{Name: "vmfsSparse", write: writeCOWD}),
	many(Kind{Name: "seSparse", write: writeSE}),
	refused(many(Kind{Name: "delta", write: writeDelta})),
}

func vmdk(subformat string, options ...string) Kind {
	return Kind{Name: strings.Join(append([]string{subformat}, options...), ","), Format: "vmdk", Packaged: true,
		Options: []string{"-o", strings.Join(append([]string{"subformat=" + subformat}, options...), ",")}}
}

func many(k Kind) Kind {
	k.Format, k.Many, k.Packaged = "vmdk", true, true
	return k
}

const sector = 512

// eachGrain calls f for each grain of the raw file that has data; the last is filled up with zeros.
func eachGrain(raw string, grain int, f func(no int, b []byte) error) (size int64, err error) {
	in, err := os.Open(raw)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return 0, err
	}
	b, zero := make([]byte, grain), make([]byte, grain)
	for no := 0; int64(no)*int64(grain) < st.Size(); no++ {
		n, err := in.ReadAt(b, int64(no)*int64(grain))
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		clear(b[n:])
		if bytes.Equal(b, zero) {
			continue
		}
		if err := f(no, b); err != nil {
			return 0, err
		}
	}
	return st.Size(), nil
}

// descriptor writes one with a single extent line; kind is as "VMFS \"x\"".
func descriptor(path, createType string, size int64, extent, more string) error {
	text := fmt.Sprintf("# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID=fffffffe\n%screateType=%q\n\n# Extent description\nRW %d %s\n\n#DDB\nddb.adapterType = \"lsilogic\"\n",
		more, createType, size/sector, extent)
	return os.WriteFile(path, []byte(text), 0o600)
}

const noParent = "parentCID=ffffffff\n"

func fileSize(path string) int64 {
	st, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return st.Size()
}

// writeVMFS makes what ESXi has of a thick disk: a flat file and a descriptor.
func writeVMFS(raw, path string) error {
	flat := strings.TrimSuffix(path, ".vmdk") + "-flat.vmdk"
	b, err := os.ReadFile(raw)
	if err != nil {
		return err
	}
	if err := os.WriteFile(flat, b, 0o600); err != nil {
		return err
	}
	return descriptor(path, "vmfs", int64(len(b)), fmt.Sprintf("VMFS %q", filepath.Base(flat)), noParent)
}

// writeCOWD makes what ESXi calls vmfsSparse: grains of one sector, tables of 4,096 entries.
func writeCOWD(raw, path string) error {
	size := fileSize(raw)
	tables := int((size/sector + 4095) / 4096)
	gd, gt := 4, 4+(tables*4+sector-1)/sector
	next := gt + tables*32
	b := make([]byte, next*sector)
	copy(b, "COWD")
	for i, v := range []uint32{1, 3, uint32(size / sector), 1, uint32(gd), uint32(tables)} {
		binary.LittleEndian.PutUint32(b[4+4*i:], v)
	}
	for i := range tables {
		binary.LittleEndian.PutUint32(b[gd*sector+4*i:], uint32(gt+32*i))
	}
	if _, err := eachGrain(raw, sector, func(no int, p []byte) error {
		binary.LittleEndian.PutUint32(b[gt*sector+4*no:], uint32(next))
		b = append(b, p...)
		next++
		return nil
	}); err != nil {
		return err
	}
	delta := strings.TrimSuffix(path, ".vmdk") + "-delta.vmdk"
	if err := os.WriteFile(delta, b, 0o600); err != nil {
		return err
	}
	return descriptor(path, "vmfsSparse", size, fmt.Sprintf("VMFSSPARSE %q", filepath.Base(delta)), noParent)
}

// writeSE makes a seSparse disk, of the one version that QEMU knows: grains of 4 KiB, tables of 4,096 entries.
func writeSE(raw, path string) error {
	size := fileSize(raw)
	tables := int((size + 16<<20 - 1) / (16 << 20))
	const volatile, gd = 1, 2
	gdSectors := (tables*8 + sector - 1) / sector
	gt := gd + gdSectors
	grains := (gt + tables*64 + 7) &^ 7
	b := make([]byte, grains*sector)
	put := func(off int, v uint64) { binary.LittleEndian.PutUint64(b[off:], v) }
	for i, v := range map[int]uint64{
		0: 0xcafebabe, 1: 0x200000001, 2: uint64(size / sector), 3: 8, 4: 64, 10: volatile, 11: 1, 16: gd, 17: uint64(gdSectors),
		18: uint64(gt), 19: uint64(tables * 64), 24: uint64(grains), 25: uint64(size/sector + 8),
	} {
		put(8*i, v)
	}
	put(volatile*sector, 0xcafecafe)
	for i := range tables {
		put(gd*sector+8*i, 1<<60|uint64(i))
	}
	next := uint64(0)
	if _, err := eachGrain(raw, 4096, func(no int, p []byte) error {
		put(gt*sector+8*no, 3<<60|next&0xfff<<48|next>>12)
		b = append(b, p...)
		next++
		return nil
	}); err != nil {
		return err
	}
	extent := strings.TrimSuffix(path, ".vmdk") + "-sesparse.vmdk"
	if err := os.WriteFile(extent, b, 0o600); err != nil {
		return err
	}
	return descriptor(path, "seSparse", size, fmt.Sprintf("SESPARSE %q", filepath.Base(extent)), noParent)
}

// writeDelta makes a snapshot's delta.
func writeDelta(raw, path string) error {
	if err := writeCOWD(raw, path); err != nil {
		return err
	}
	delta := strings.TrimSuffix(path, ".vmdk") + "-delta.vmdk"
	return descriptor(path, "vmfsSparse", fileSize(raw), fmt.Sprintf("VMFSSPARSE %q", filepath.Base(delta)), "parentCID=12345678\nparentFileNameHint=\"base.vmdk\"\n")
}

// OVA packs the disk at path with a description and a manifest.
func OVA(path, to string) error {
	disk, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	sum, err := SHA256(path)
	if err != nil {
		return err
	}
	name := filepath.Base(path)
	ovf := `<?xml version="1.0"?><Envelope xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"><References><File ovf:href="` + name + `" ovf:id="f"/></References>` +
		`<DiskSection><Disk ovf:diskId="d" ovf:fileRef="f"/></DiskSection></Envelope>`
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	ovfSum, err := sumOf(ovf)
	if err != nil {
		return err
	}
	for _, m := range []struct {
		name    string
		content []byte
	}{{"vm.ovf", []byte(ovf)}, {"vm.mf", fmt.Appendf(nil, "SHA256(vm.ovf)= %s\nSHA256(%s)= %s\n", ovfSum, name, sum)}, {name, disk}} {
		if err := w.WriteHeader(&tar.Header{Name: m.name, Mode: 0o644, Size: int64(len(m.content))}); err != nil {
			return err
		}
		if _, err := w.Write(m.content); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(to, b.Bytes(), 0o600)
}

func sumOf(s string) (string, error) {
	h := sha256.New()
	if _, err := io.WriteString(h, s); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
