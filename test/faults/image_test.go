//go:build linux

package faults

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/cdictl/cdictl/test/internal/images"
	"github.com/cdictl/cdictl/test/internal/proc"
)

// imageFaults are images that lie, break off, or ask for too much.
var imageFaults = []fault{
	{"wrong checksum, direct", []int{13}, true, func(s *stage) proc.Result {
		return s.importing(s.in.qcow2, "--checksum", "sha256:"+strings.Repeat("ab", 32))
	}},
	{"wrong checksum, stream", []int{13}, true, func(s *stage) proc.Result {
		return s.importing(s.in.rawGz, "--checksum", "md5:"+strings.Repeat("ab", 16))
	}},
	{"wrong checksum, stream of qcow2", []int{13}, true, func(s *stage) proc.Result {
		return s.importing(s.in.qcow2Zst, "--checksum", "sha512:"+strings.Repeat("ab", 64))
	}},
	{"truncated raw.gz", []int{12}, true, func(s *stage) proc.Result { return s.importing(s.cut(s.in.rawGz)) }},
	{"truncated qcow2.zst", []int{12}, true, func(s *stage) proc.Result { return s.importing(s.cut(s.in.qcow2Zst)) }},
	{"truncated qcow2", []int{12}, true, func(s *stage) proc.Result { return s.importing(s.cut(s.in.qcow2)) }},
	{"a backing file, never opened", []int{12}, true, backing},
	{"image larger than --size", []int{14}, true, func(s *stage) proc.Result {
		return s.importing(s.in.qcow2, "--size", "128Mi")
	}},
	{"expansion bomb, zst", []int{15}, true, func(s *stage) proc.Result { return s.bomb("zst", 512<<20) }},
	{"expansion bomb, xz", []int{15}, true, func(s *stage) proc.Result { return s.bomb("xz", 512<<20) }},
	{"expansion bomb, bz2", []int{15}, true, func(s *stage) proc.Result { return s.bomb("bz2", 256<<20) }},
	{"window above the bound, zst", []int{15}, true, func(s *stage) proc.Result {
		path := s.path("long.raw.zst")
		content := io.LimitReader(images.NewContent(1), 8<<20)
		must(s.t, images.Pipe(s.t.Context(), content, path, "zstd", "-q", "-1", "--long=28", "-c"))
		return s.importing(path)
	}},
	{"window above the bound, xz", []int{15}, true, func(s *stage) proc.Result { return s.importing(s.wideXz()) }},
	{"qcow2 from stdin to stdout, no scratch", []int{16}, true, func(s *stage) proc.Result {
		f, err := os.Open(s.in.qcow2)
		must(s.t, err)
		defer f.Close()
		c := s.command("-")
		c.Args[3] = "-"
		c.Stdin = struct{ io.Reader }{f} // a pipe, which cannot be read at random
		r := s.run(c)
		if r.Stdout != "" {
			s.t.Errorf("%d bytes on stdout", len(r.Stdout))
		}
		return r
	}},
}

// path names an input that only this case uses.
func (s *stage) path(name string) string { return filepath.Join(s.t.TempDir(), name) }

// cut is the first two thirds of a file.
func (s *stage) cut(path string) string {
	b, err := os.ReadFile(path)
	must(s.t, err)
	short := s.path(filepath.Base(path))
	must(s.t, os.WriteFile(short, b[:len(b)*2/3], 0o600))
	return short
}

// backing imports an overlay under strace: the file that it names must not even be looked at.
func backing(s *stage) proc.Result {
	overlay := s.path("overlay.qcow2")
	base := filepath.Join(filepath.Dir(overlay), "base-nobody-may-touch.raw")
	must(s.t, os.Link(s.in.raw, base))
	tool(s.t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", overlay)
	log := s.path("strace.log")
	c := s.command(overlay)
	c.Args = append([]string{"strace", "-f", "-qq", "-e", "trace=%file", "-o", log}, c.Args...)
	r := s.run(c)
	calls, err := os.ReadFile(log)
	must(s.t, err)
	if !bytes.Contains(calls, []byte(overlay)) {
		s.t.Error("strace did not see the image itself being opened")
	}
	for line := range strings.Lines(string(calls)) {
		if strings.Contains(line, filepath.Base(base)) && !strings.Contains(line, "execve") {
			s.t.Errorf("the backing file was touched: %s", line)
		}
	}
	return r
}

// bomb imports n bytes of the letter A through a codec that makes next to nothing of them.
func (s *stage) bomb(codec string, n int64) proc.Result {
	path := s.path("bomb.raw." + codec)
	must(s.t, images.CompressStream(s.t.Context(), codec, io.LimitReader(letters{}, n), path))
	return s.importing(path)
}

type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'A'
	}
	return len(p), nil
}

// wideXz is an xz file whose first block claims a dictionary of 1 GiB. The encoder would need ten times that, so the
// claim is written into the block header of a small file (.xz format, 3.1 and 5.3.1) and its CRC32 mended.
func (s *stage) wideXz() string {
	path := s.path("wide.raw.xz")
	must(s.t, images.CompressStream(s.t.Context(), "xz", io.LimitReader(images.NewContent(1), 1<<20), path))
	b, err := os.ReadFile(path)
	must(s.t, err)
	const header = 12 // after the stream header: size/4-1, flags, filter 0x21, 1 byte of properties, the dictionary
	end := header + 4*(int(b[header])+1)
	if b[header+1]&0xc3 != 0 || b[header+2] != 0x21 || b[header+3] != 1 {
		must(s.t, errors.New("xz wrote a block header with sizes or other filters"))
	}
	b[header+4] = 36 // 2 << (36/2 + 11) = 1 GiB
	binary.LittleEndian.PutUint32(b[end-4:], crc32.ChecksumIEEE(b[header:end-4]))
	must(s.t, os.WriteFile(path, b, 0o600))
	return path
}
