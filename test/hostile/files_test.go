//go:build linux

package hostile

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/cdictl/cdictl/test/internal/web"
)

// least is how many files there must be, so that a list which got lost is noticed.
const least = 80

// format limits the crafted files to one format or codec: go test ./test/hostile -args -format vmdk
var format = flag.String("format", "", "only the files of this format or codec")

// TestFiles imports every crafted file from disk, and again as a server sends it that knows neither length nor ranges.
func TestFiles(t *testing.T) {
	b := newBed(t, "Files that lie: exit 12, 15 or 20, within 2 s and 128 MiB")
	craft, err := newCrafter(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	files, err := craft.list(t.Context())
	if err != nil || len(files) < least {
		t.Fatalf("%d files, %v", len(files), err)
	}
	if *format != "" {
		files = slices.DeleteFunc(files, func(f file) bool { return f.Format != *format })
	}
	srv := web.Start(t, web.Plain(b.dir))
	err = b.each(len(files), func(b *bed, i int) error {
		name := fmt.Sprintf("%d.disk", i)
		path := filepath.Join(filepath.Dir(b.dir), name)
		if err := craft.write(t.Context(), files[i], path); err != nil {
			return err
		}
		b.file(t.Context(), files[i], path, srv.URL+"/"+name)
		return os.Remove(path)
	})
	if err != nil {
		t.Error(err)
	}
	b.end(t)
}

func (b *bed) file(ctx context.Context, f file, path, url string) {
	if f.Expansion > 0 {
		b.bomb(ctx, f, path)
		return
	}
	if !f.Only {
		b.try(ctx, f.Name, "file", path, want{[]int{f.Exit}, f.Says}, f.args()...)
	}
	if f.Reads {
		return
	}
	// Where tables come as they come, another of two lies may be seen first.
	w := want{exits: []int{12, 15, 20}}
	if f.Only || f.StreamSays != f.Says {
		w.says = f.StreamSays
	}
	b.try(ctx, f.Name, "http", url, w, f.args()...)
}

var became = regexp.MustCompile(`(\d+) stored bytes have become (\d+) bytes`)

// bomb is a file of few bytes that become many. What comes out before it is refused must be little more than the bound.
func (b *bed) bomb(ctx context.Context, f file, path string) {
	b.tryPiped(ctx, f.Name, "file", path, want{[]int{f.Exit}, f.Says}, f.args()...)
	n, message, err := b.passed(ctx, path, f.args()...)
	if m := became.FindStringSubmatch(message); err == nil && m != nil {
		stored, e := strconv.ParseInt(m[1], 10, 64)
		bound := 64<<20 + f.Expansion*stored
		if n > bound+bound/100 {
			e = errors.Join(e, fmt.Errorf("%d bytes came out, the bound is %d", n, bound))
		}
		b.table.Row(f.Name, "bytes out", "", "", "", fmt.Sprintf("%d bytes came out of %d, the bound is %d", n, stored, bound))
		err = e
	} else if err == nil {
		err = fmt.Errorf("message %.300q", message)
	}
	b.table.Count(f.Name+", bytes", err)
}
