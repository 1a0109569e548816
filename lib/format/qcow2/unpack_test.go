package qcow2

import (
	"bytes"
	"errors"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/cdictl/cdictl/lib/errdef"
)

func TestUnpack(t *testing.T) {
	const cluster = 4096
	plain := make([]byte, cluster)
	for i := range plain {
		plain[i] = byte(i * i >> 3)
	}
	garbage := bytes.Repeat([]byte{0xfe}, 300)
	skippable := []byte{0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3}
	unsized := func() []byte { // a streaming encoder does not know the content's size and takes a large window
		var b bytes.Buffer
		w, _ := zstd.NewWriter(&b, zstd.WithWindowSize(8<<20), zstd.WithEncoderConcurrency(1))
		w.Write(plain[:1000])
		w.Flush()
		w.Write(plain[1000:])
		w.Close()
		return b.Bytes()
	}()
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for _, tt := range []struct {
		name        string
		compression uint8
		stored      []byte
		bad         bool
	}{
		{"deflate", compressZlib, packCluster(compressZlib, plain), false},
		{"deflate and the next cluster", compressZlib, join(packCluster(compressZlib, plain), packCluster(compressZlib, plain)), false},
		{"deflate and garbage", compressZlib, join(packCluster(compressZlib, plain), garbage), false},
		{"deflate of more than a cluster", compressZlib, packCluster(compressZlib, join(plain, plain)), false},
		{"deflate of less", compressZlib, packCluster(compressZlib, plain[:cluster-1]), true},
		{"deflate of nothing", compressZlib, packCluster(compressZlib, nil), true},
		{"deflate cut", compressZlib, packCluster(compressZlib, plain)[:40], true},
		{"deflate without bytes", compressZlib, nil, true},
		{"deflate garbage", compressZlib, garbage, true},
		{"zstd", compressZstd, packCluster(compressZstd, plain), false},
		{"zstd and the next cluster", compressZstd, join(packCluster(compressZstd, plain), packCluster(compressZstd, plain)), false},
		{"zstd and garbage", compressZstd, join(packCluster(compressZstd, plain), garbage), false},
		{"zstd in two frames", compressZstd, join(packCluster(compressZstd, plain[:99]), packCluster(compressZstd, plain[99:]), garbage), false},
		{"zstd behind a skippable frame", compressZstd, join(skippable, packCluster(compressZstd, plain)), false},
		{"zstd unsized", compressZstd, join(unsized, garbage), false},
		{"zstd of more than a cluster", compressZstd, packCluster(compressZstd, join(plain, plain)), true},
		{"zstd of less", compressZstd, packCluster(compressZstd, plain[:cluster-1]), true},
		{"zstd of less and garbage", compressZstd, join(packCluster(compressZstd, plain[:cluster-1]), garbage), true},
		{"zstd cut", compressZstd, packCluster(compressZstd, plain)[:40], true},
		{"zstd without bytes", compressZstd, nil, true},
		{"zstd garbage", compressZstd, garbage, true},
		{"zstd skippable only", compressZstd, skippable, true},
		{"zstd skippable of 4 GiB", compressZstd, []byte{0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0xff}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var u unpacker
			u.init(tt.compression, cluster)
			for _, n := range []int{cluster, 512, 1, cluster} {
				dst := bytes.Repeat([]byte{0xa5}, n)
				err := u.unpack(dst, tt.stored)
				switch {
				case tt.bad && !errors.Is(err, errdef.ErrCorrupt):
					t.Fatalf("%d bytes: %v, want ErrCorrupt", n, err)
				case !tt.bad && err != nil:
					t.Fatalf("%d bytes: %v", n, err)
				case !tt.bad && !bytes.Equal(dst, plain[:n]):
					t.Fatalf("%d bytes: content differs", n)
				}
			}
		})
	}
}
