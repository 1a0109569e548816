package archive

import (
	"archive/tar"
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/testimage"
	"github.com/cdictl/cdictl/lib/source"
)

// A file is a member of a test's tar.
type file struct {
	name    string
	content string
	kind    byte // 0: regular
}

func makeTar(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.content)), Typeflag: tar.TypeReg}
		if f.kind != 0 {
			h.Typeflag, h.Linkname, h.Size = f.kind, "/etc/passwd", 0
			f.content = ""
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const ovfHead = testimage.OVFHead

// ovf describes disks: "name" or "name attr=…" of the Disk element.
func ovf(disks ...string) string { return testimage.OVF(disks...) }

func mf(alg string, files ...file) file {
	var s strings.Builder
	for _, f := range files {
		h := map[string]func() hash.Hash{"SHA1": sha1.New, "SHA256": sha256.New, "SHA512": sha512.New}[alg]()
		h.Write([]byte(f.content))
		fmt.Fprintf(&s, "%s(%s)= %x\n", alg, f.name, h.Sum(nil))
	}
	return file{name: "vm.mf", content: s.String()}
}

var (
	desc  = file{name: "vm.ovf", content: ovf("disk.vmdk")}
	desc2 = file{name: "vm.ovf", content: ovf("a.vmdk", "b.vmdk")}
	disk  = file{name: "disk.vmdk", content: "content of the disk"}
	diskA = file{name: "a.vmdk", content: "A"}
	diskB = file{name: "b.vmdk", content: strings.Repeat("B", 5000)}
	other = file{name: "readme", content: "hello"}
)

// A shape is an archive and what is in it.
type shape struct {
	name   string
	files  []file
	disk   string // Options.Disk
	want   string // content
	err    error
	says   string
	stream error // what a stream says where it is not the same
}

func shapes() []shape {
	bad, no, usage := errdef.ErrCorrupt, errdef.ErrUnsupported, errdef.ErrUsage
	return []shape{
		{name: "ova", files: []file{desc, disk}, want: disk.content},
		{name: "manifest before", files: []file{desc, mf("SHA256", desc, disk), disk}, want: disk.content},
		{name: "manifest behind", files: []file{desc, disk, mf("SHA1", desc, disk)}, want: disk.content},
		{name: "manifest of SHA512, and a certificate", files: []file{desc, mf("SHA512", desc, disk), {name: "vm.cert", content: "x"}, disk}, want: disk.content},
		{name: "manifest with dashes", files: []file{desc, {name: "vm.mf", content: strings.ReplaceAll(mf("SHA256", desc, disk).content, "SHA256", "SHA-256")}, disk}, want: disk.content},
		{name: "manifest of another", files: []file{desc, {name: "other.mf", content: "x"}, disk}, want: disk.content},
		{name: "names with ./", files: []file{{name: "./vm.ovf", content: ovf("./disk.vmdk")}, {name: "./disk.vmdk", content: "x"}}, want: "x"},
		{name: "folders and links", files: []file{desc, {name: "d/", kind: tar.TypeDir}, {name: "disk.vmdk", kind: tar.TypeSymlink}, disk}, want: disk.content},
		{name: "long names", files: []file{{name: strings.Repeat("ä", 120) + ".ovf", content: ovf(strings.Repeat("n", 150))}, {name: strings.Repeat("n", 150), content: "x"}}, want: "x"},
		{name: "two disks", files: []file{desc2, diskA, diskB}, err: usage, says: `2 disks, and it was not said which: 1 "a.vmdk" (7 bytes) (capacity 16 × byte * 2^30); 2 "b.vmdk"`},
		{name: "two disks, by name", files: []file{desc2, diskA, diskB}, disk: "b.vmdk", want: diskB.content},
		{name: "two disks, by ID", files: []file{desc2, diskA, diskB}, disk: "vmdisk1", want: "A"},
		{name: "two disks, by number", files: []file{desc2, diskA, diskB, mf("SHA256", desc2, diskA, diskB)}, disk: "2", want: diskB.content},
		{name: "no such disk", files: []file{desc2, diskA, diskB}, disk: "c", err: usage, says: `no disk "c"; there is 1 "a.vmdk"`},
		{name: "disk 0", files: []file{desc2, diskA, diskB}, disk: "0", err: usage, says: "no disk"},
		{name: "disk 3", files: []file{desc2, diskA, diskB}, disk: "3", err: usage, says: "no disk"},
		{name: "disk is not there", files: []file{desc, other}, err: bad, says: "not in the archive"},
		{name: "description is not first", files: []file{disk, desc}, want: disk.content, stream: no},
		{name: "two descriptions", files: []file{desc, {name: "b.ovf", content: ovf("x")}, disk}, err: no, says: "descri"},
		{name: "wrong digest", files: []file{desc, mf("SHA256", desc, other), disk}, err: bad, says: "has no digest of"},
		{name: "wrong digest of the description", files: []file{desc, mf("SHA256", other, disk, file{name: "vm.ovf"}), disk}, err: errdef.ErrDigestMismatch, says: "vm.ovf"},
		{name: "manifest of garbage", files: []file{desc, {name: "vm.mf", content: "\x00\x01"}, disk}, err: bad, says: "line 1"},
		{name: "manifest of md5", files: []file{desc, {name: "vm.mf", content: "MD5(disk.vmdk)= d41d8cd98f00b204e9800998ecf8427e"}, disk}, err: bad, says: "md5 proves nothing"},
		{name: "manifest with two digests", files: []file{desc, {name: "vm.mf", content: mf("SHA1", disk).content + mf("SHA256", disk).content}, disk}, err: bad, says: "there twice"},
		{name: "member twice", files: []file{desc, disk, disk}, err: bad, says: "there twice"},
		{name: "delta", files: []file{{name: "vm.ovf", content: ovf(`disk.vmdk ovf:parentRef="vmdisk0"`)}, disk}, err: no, says: `delta of disk "vmdisk0"`},
		{name: "pieces", files: []file{{name: "vm.ovf", content: ovf(`disk.vmdk file:chunkSize="100"`)}, disk}, err: no, says: "cut into pieces"},
		{name: "gzip", files: []file{{name: "vm.ovf", content: ovf(`disk.vmdk file:compression="gzip"`)}, disk}, want: disk.content},
		{name: "bzip2", files: []file{{name: "vm.ovf", content: ovf(`disk.vmdk file:compression="bzip2"`)}, disk}, err: no, says: `compressed by "bzip2"`},
		{name: "disk elsewhere", files: []file{{name: "vm.ovf", content: ovf("http://evil/disk.vmdk")}, disk}, err: no, says: "outside of the package"},
		{name: "disk above", files: []file{{name: "vm.ovf", content: ovf("../../etc/passwd")}, disk}, err: bad, says: `"etc/passwd", which is not in the archive`},
		{name: "no disks", files: []file{{name: "vm.ovf", content: ovfHead + "<References/></Envelope>"}, disk}, err: bad, says: "no disks"},
		{name: "only blank disks", files: []file{{name: "vm.ovf", content: ovf()}, disk}, err: no, says: "no disk that has a file"},
		{name: "reference to nothing", files: []file{{name: "vm.ovf", content: ovfHead + `<DiskSection><Disk ovf:diskId="d" ovf:fileRef="f"/></DiskSection></Envelope>`}, disk}, err: bad, says: "refers to file"},
		{name: "entities", files: []file{{name: "vm.ovf", content: `<!DOCTYPE x [<!ENTITY a "b">]>` + ovf("disk.vmdk")}, disk}, err: bad, says: "document type"},
		{name: "unknown entity", files: []file{{name: "vm.ovf", content: strings.Replace(ovf("disk.vmdk"), "&lt;", "&a;", 1)}, disk}, err: bad, says: "entity"},
		{name: "another root", files: []file{{name: "vm.ovf", content: "<x/>"}, disk}, err: bad, says: "not Envelope"},
		{name: "description cut", files: []file{{name: "vm.ovf", content: desc.content[:len(desc.content)-20]}, disk}, err: bad, says: "vm.ovf, line"},
		{name: "not XML", files: []file{{name: "vm.ovf", content: "\x00\x01"}, disk}, err: bad, says: "vm.ovf"},
		{name: "deep", files: []file{{name: "vm.ovf", content: "<Envelope>" + strings.Repeat("<a>", 100)}, disk}, err: bad, says: "deep"},
		{name: "description too long", files: []file{{name: "vm.ovf", content: ovfHead + strings.Repeat(" ", maxDescription)}, disk}, err: errdef.ErrLimit, says: "description"},
		{name: "manifest too long", files: []file{desc, {name: "vm.mf", content: strings.Repeat("\n", maxManifest+1)}, disk}, err: errdef.ErrLimit, says: "manifest"},
		{name: "tar", files: []file{{name: "d/", kind: tar.TypeDir}, {name: "d/disk.raw", content: "raw"}}, want: "raw"},
		{name: "tar of two", files: []file{other, disk}, err: usage, says: `2 disks, and it was not said which: 1 "readme" (5 bytes); 2 "disk.vmdk" (19 bytes)`},
		{name: "tar of two, by name", files: []file{other, disk}, disk: "disk.vmdk", want: disk.content},
		{name: "tar of two, by number", files: []file{other, disk}, disk: "2", want: disk.content},
		{name: "tar, by the end of the name", files: []file{{name: "a/b/c", content: "x"}, other}, disk: "c", want: "x"},
		{name: "tar, by no name", files: []file{other, disk}, disk: "x", err: usage, says: "no disk"},
		{name: "tar of folders", files: []file{{name: "d/", kind: tar.TypeDir}}, err: no, says: "no regular file"},
		{name: "empty disk", files: []file{{name: "x"}}, want: ""},
	}
}

// find reads the disk by random access.
func find(t *testing.T, b []byte, o Options) (string, error) {
	d, err := Find(t.Context(), bytes.NewReader(b), int64(len(b)), o)
	if err != nil {
		return "", err
	}
	w := Window(blob{bytes.NewReader(b)}, d)
	got, err := io.ReadAll(w)
	if err != nil {
		return "", err
	}
	at := make([]byte, len(got)+5)
	if n, err := w.(io.ReaderAt).ReadAt(at, 0); n != len(got) || !errors.Is(err, io.EOF) || !bytes.Equal(at[:n], got) {
		t.Errorf("ReadAt gives %q, %v; Read gives %q", at[:n], err, got)
	}
	if i := w.Info(); i.Size != int64(len(got)) || i.Identity != "id" || i.Dir != "" {
		t.Errorf("info is %+v", i)
	}
	if len(got) > 0 {
		x, err := image.Next(w.(image.Extenter), 0, int64(len(got)))
		if err != nil || x.Length != int64(len(got)) {
			t.Errorf("extent is %+v, %v", x, err)
		}
	}
	if h := d.Digest.Hash(); h != nil {
		h.Write(got)
		if err := d.Digest.Check(h.Sum(nil)); err != nil {
			return "", err
		}
	}
	return string(got), nil
}

func stream(r io.Reader, o Options) (string, error) {
	s, err := NewStream(r, o)
	if err != nil {
		return "", err
	}
	got, err := io.ReadAll(s)
	if err == nil {
		err = s.Finish()
	}
	return string(got), err
}

// blob is bytes as a source.Blob.
type blob struct{ *bytes.Reader }

func (blob) Close() error { return nil }
func (b blob) Info() source.Info {
	return source.Info{Size: b.Size(), Identity: "id", Dir: "/d", Name: "x.ova"}
}
func (b blob) NextExtent(off, n int64) (image.Extent, error) {
	return image.Extent{Start: off, Length: min(n, b.Size()-off)}, nil
}

func TestArchives(t *testing.T) {
	for _, s := range shapes() {
		t.Run(s.name, func(t *testing.T) {
			b := makeTar(t, s.files...)
			check := func(how, got string, err, want error) {
				t.Helper()
				switch {
				case want == nil && (err != nil || got != s.want):
					t.Errorf("%s: %.100q, %v; want %.100q", how, got, err, s.want)
				case want != nil && (!errors.Is(err, want) || !strings.Contains(err.Error(), s.says)):
					t.Errorf("%s: %v; want %v that says %q", how, err, want, s.says)
				}
			}
			got, err := find(t, b, Options{Disk: s.disk})
			check("random", got, err, s.err)
			want := s.err
			if s.stream != nil {
				want = s.stream
			}
			got, err = stream(bytes.NewReader(b), Options{Disk: s.disk})
			check("stream", got, err, want)
			got, err = stream(iotest.HalfReader(bytes.NewReader(b)), Options{Disk: s.disk})
			check("stream in pieces", got, err, want)
		})
	}
}

// Whatever is cut off an archive is noticed.
func TestCut(t *testing.T) {
	b := makeTar(t, desc, mf("SHA256", desc, diskB, disk), disk)
	end := bytes.LastIndexFunc(b, func(r rune) bool { return r != 0 }) + 1
	end = (end + 511) &^ 511
	for n := 0; n <= end; n += 97 {
		if got, err := stream(bytes.NewReader(b[:n]), Options{}); err == nil {
			t.Fatalf("stream cut at %d of %d reads %q", n, len(b), got)
		}
		if got, err := find(t, b[:n], Options{}); err == nil {
			t.Fatalf("cut at %d of %d reads %q", n, len(b), got)
		}
	}
	if _, err := stream(bytes.NewReader(b[:end+1024]), Options{}); err != nil {
		t.Errorf("without padding: %v", err)
	}
}

// A change of the disk is noticed, wherever its digest stands.
func TestDigest(t *testing.T) {
	for _, alg := range []string{"SHA1", "SHA256", "SHA512"} {
		for _, files := range [][]file{{desc, mf(alg, desc, disk), disk}, {desc, disk, mf(alg, desc, disk)}} {
			b := bytes.Replace(makeTar(t, files...), []byte(disk.content), []byte(strings.ToUpper(disk.content)), 1)
			if _, err := stream(bytes.NewReader(b), Options{}); !errors.Is(err, errdef.ErrDigestMismatch) {
				t.Errorf("%s: stream: %v", alg, err)
			}
			if _, err := find(t, b, Options{}); !errors.Is(err, errdef.ErrDigestMismatch) {
				t.Errorf("%s: random: %v", alg, err)
			}
		}
	}
}

func TestManyMembers(t *testing.T) {
	files := make([]file, maxMembers+1)
	for i := range files {
		files[i].name = fmt.Sprint(i)
	}
	b := makeTar(t, files...)
	if _, err := find(t, b, Options{}); !errors.Is(err, errdef.ErrLimit) {
		t.Errorf("random: %v", err)
	}
	if _, err := stream(bytes.NewReader(b), Options{}); !errors.Is(err, errdef.ErrLimit) {
		t.Errorf("stream: %v", err)
	}
}

// FuzzArchive reads anything as a tar in both ways, which must not give two disks.
func FuzzArchive(f *testing.F) {
	for _, s := range shapes() {
		if b := makeTar(f, s.files...); len(b) < 8<<10 {
			f.Add(b, s.disk)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, name string) {
		one, err := find(t, b, Options{Disk: name})
		two, serr := stream(bytes.NewReader(b), Options{Disk: name})
		if err == nil && serr == nil && one != two {
			t.Fatalf("random access gives %q, the stream %q", one, two)
		}
	})
}

// FuzzDescription reads anything as a description and a manifest.
func FuzzDescription(f *testing.F) {
	for _, s := range shapes() {
		for _, m := range s.files {
			if len(m.content) < 4<<10 {
				f.Add([]byte(m.content), s.disk)
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, name string) {
		_, _ = parseManifest("x", b)
		d, err := parseOVF("x", b)
		if err != nil {
			return
		}
		if file, err := d.disk(name); err == nil && (file == "" || file != clean(file)) {
			t.Fatalf("file %q", file)
		}
	})
}
