package compress

import (
	"bytes"
	"io"
	"testing"
)

// BenchmarkRead decodes data (of disks, as sample makes it) and zeros.
func BenchmarkRead(b *testing.B) {
	for _, content := range []struct {
		name string
		data func() io.Reader
	}{
		{"data", func() io.Reader { return bytes.NewReader(sample(32 << 20)) }},
		{"zeros", func() io.Reader { return io.LimitReader(constant(0), 512<<20) }},
	} {
		for _, cmd := range []string{"gzip", "xz", "zstd", "bzip2"} {
			b.Run(content.name+"/"+cmd, func(b *testing.B) {
				packed := tool(b, content.data(), cmd)
				c := detect(b, packed)
				buf := make([]byte, 256<<10)
				for b.Loop() {
					z, err := c.NewReader(bytes.NewReader(packed), Options{})
					if err != nil {
						b.Fatal(err)
					}
					n, err := io.CopyBuffer(onlyWriter{io.Discard}, z, buf)
					if err != nil {
						b.Fatal(err)
					}
					b.SetBytes(n)
					z.Close()
				}
			})
		}
	}
}

type onlyWriter struct{ io.Writer }
