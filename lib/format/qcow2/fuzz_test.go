package qcow2

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cdictl/cdictl/lib/internal/testimage"
	"github.com/cdictl/cdictl/lib/limits"
	"github.com/cdictl/cdictl/lib/transfer/transfertest"
)

const fuzzVirtual = 16 << 20

// fuzzSeeds are small images: crafted ones, and what qemu-img makes if it is there.
func fuzzSeeds(f *testing.F) [][]byte {
	zlib, _ := craft(compressZlib)
	zstd, _ := craft(compressZstd)
	ext, _ := craftExtended()
	seeds := [][]byte{zlib, zstd, ext, manyTables(20)}
	if testimage.Missing("qemu-img", "qemu-io") != nil {
		return seeds
	}
	life := []string{"qemu-io", "-t", "unsafe", "-c", "write -P 1 10k 9000", "-c", "write -z 20k 7k", "-c", "discard 30k 5k", testimage.ImagePath}
	snap := []string{"qemu-img", "snapshot", "-c", "one", testimage.ImagePath}
	const size = 64<<10 + 512
	for i, c := range []testimage.Case{
		{Size: size, Options: "cluster_size=512"},
		{Size: size, Options: "cluster_size=512,compat=0.10", Compress: true},
		{Size: size, Options: "cluster_size=4k", Compress: true, Life: [][]string{snap, life}},
		{Size: size, Options: "cluster_size=4k,compression_type=zstd", Compress: true, Life: [][]string{life}},
		{Size: size, Options: "cluster_size=16k,extended_l2=on", Life: [][]string{snap, life}},
		{Size: size, Options: "cluster_size=16k,extended_l2=on,compression_type=zstd", Compress: true},
	} {
		c.Name = string(rune('a' + i))
		path, err := testimage.Build(f.Context(), f.TempDir(), c)
		if err != nil {
			f.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		seeds = append(seeds, b)
	}
	return seeds
}

// FuzzOpen opens anything, reads all of it in every way, and compares the ways.
func FuzzOpen(f *testing.F) {
	for _, b := range fuzzSeeds(f) {
		f.Add(b, "")
		f.Add(b, "one")
	}
	o := Options{Limits: limits.Limits{VirtualSize: fuzzVirtual, Metadata: 4 << 20}}
	f.Fuzz(func(t *testing.T, b []byte, snapshot string) {
		o := o
		o.Snapshot = snapshot
		_, descErr := Describe(t.Context(), bytes.NewReader(b), int64(len(b)), o)
		_, _ = Describe(t.Context(), bytes.NewReader(b), -1, o)
		_, err := readAll(t, b, o)
		if err == nil && snapshot != "" && descErr != nil {
			t.Fatalf("opened a snapshot, but: %v", descErr)
		}
	})
}

// FuzzConvert lets anything pass as a stream.
func FuzzConvert(f *testing.F) {
	for i, b := range fuzzSeeds(f) {
		f.Add(b, "", []byte{byte(i), 200, 3, 129})
		f.Add(b, "one", []byte{128 + byte(i/2), 90})
	}
	f.Fuzz(func(t *testing.T, b []byte, snapshot string, script []byte) {
		o := Options{Limits: limits.Limits{VirtualSize: 4 << 20, Metadata: 4 << 20}, Snapshot: snapshot}
		transfertest.Convert(t, b, limited(t, o), script)
	})
}

// FuzzDifferential changes bytes of good images and compares with qemu-img: what we read without an error must be
// what it reads. (Where it refuses an image that we read, a table that only a writer needs is broken.)
//
// A change is 7 bytes: where, counted from a place worth changing, and 4 bytes that are written, or-ed or added there.
func FuzzDifferential(f *testing.F) {
	if _, err := exec.LookPath("qemu-img"); err != nil {
		testimage.Require(f, "qemu-img")
	}
	seeds := fuzzSeeds(f)
	for i := range seeds {
		f.Add(uint8(i), []byte{})
		f.Add(uint8(i), []byte{0, 2, 5, 1, 0, 0, 0})
		f.Add(uint8(i), []byte{7, 0, 4, 2, 0xff, 0xff, 0xff})
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, which uint8, changes []byte) {
		b := change(seeds[int(which)%len(seeds)], changes)
		got, err := readAll(t, b, Options{Limits: limits.Limits{VirtualSize: fuzzVirtual, Metadata: 4 << 20}})
		if err != nil {
			return
		}
		// Qemu counts disks in sectors.
		got = got[:len(got)&^511]
		path := filepath.Join(dir, "x.qcow2")
		raw := path + ".raw"
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := testimage.Raw(t.Context(), path, raw, "-f", "qcow2"); err != nil {
			t.Skip(err)
		}
		want, err := os.ReadFile(raw)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			keep := filepath.Join(os.TempDir(), "qcow2-differs.qcow2")
			_ = os.WriteFile(keep, b, 0o600)
			t.Fatalf("qemu-img reads other bytes (%d, ours %d); the image is in %s", len(want), len(got), keep)
		}
	})
}

// change makes changes, of 7 bytes each, in a copy of b.
func change(b, changes []byte) []byte {
	b = bytes.Clone(b)
	places := interesting(b)
	for ; len(changes) >= 7; changes = changes[7:] {
		at := (places[int(changes[0])%len(places)] + int(binary.BigEndian.Uint16(changes[1:]))%2048) % (len(b) - 4)
		v := binary.BigEndian.Uint32(changes[3:])
		old := binary.BigEndian.Uint32(b[at:])
		switch changes[3] % 3 {
		case 1:
			v |= old
		case 2:
			v += old
		}
		binary.BigEndian.PutUint32(b[at:], v)
	}
	return b
}

// interesting is where a valid image has its header, L1, first L2 tables, snapshot and refcount table.
func interesting(b []byte) []int {
	be := binary.BigEndian
	l1 := int(be.Uint64(b[40:]))
	places := []int{0, 20, 72, l1, int(be.Uint64(b[64:])), int(be.Uint64(b[48:]))}
	for i := range min(4, int(be.Uint32(b[36:]))) {
		if l2 := int(be.Uint64(b[l1+8*i:]) & offsetMask); l2 > 0 {
			places = append(places, l2, l2)
		}
	}
	return places
}
