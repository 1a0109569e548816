package resize

import (
	"errors"
	"math"
	"math/big"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
)

func TestParseOverhead(t *testing.T) {
	for s, want := range map[string]Overhead{
		"0": 0, "1": 1000, "0.06": 60, "0.060": 60, "0.6": 600, "0.055": 55, "0.001": 1, "0.999": 999, "0.0": 0,
		"": -1, "0.": -1, "0.0601": -1, ".06": -1, "1.0": -1, "2": -1, "-0.1": -1, "0.6e": -1, "+0": -1, " 0": -1, "00": -1, "0.-6": -1, "NaN": -1,
	} {
		got, err := ParseOverhead(s)
		if want < 0 {
			if !errors.Is(err, errdef.ErrUsage) || errdef.Hint(err) == "" {
				t.Errorf("ParseOverhead(%q) = %d, %v; want ErrUsage with a hint", s, got, err)
			}
			continue
		}
		if err != nil || got != want {
			t.Errorf("ParseOverhead(%q) = %d, %v; want %d", s, got, err, want)
		}
		if again, err := ParseOverhead(got.String()); err != nil || again != got {
			t.Errorf("%q is written %q and read as %d, %v", s, got, again, err)
		}
	}
}

func TestOverhead(t *testing.T) {
	const mi, gi = 1 << 20, 1 << 30
	for _, c := range []struct {
		name             string
		size             int64
		overhead         Overhead
		required, usable int64 // usable: of size
	}{
		{"nothing", 0, 60, 0, 0},
		{"a byte is a MiB", 1, 60, 1111491, 0},
		{"a MiB", mi, 60, 1111491, 0},
		{"1 GiB and 6%", gi, 60, 1138166334, 966 * mi},
		{"1 GiB and 5.5%", gi, 55, 1132797625, 970 * mi},
		{"exact where a float is not", 100 * mi, 100, 115343360, 90 * mi},
		{"no overhead", gi, 0, gi, gi},
		{"half for the filesystem", gi, 1000, 2 * gi, gi / 2},
		{"not whole MiB", gi + 1, 0, gi + mi, gi},
		{"an exbibyte", 1 << 60, 60, 1222096794883257795, 1087661796798496768},
	} {
		required, err := Required(c.size, c.overhead)
		if err != nil || required != c.required {
			t.Errorf("%s: Required(%d, %s) = %d, %v; want %d", c.name, c.size, c.overhead, required, err, c.required)
		}
		if usable, err := Usable(c.size, c.overhead); err != nil || usable != c.usable {
			t.Errorf("%s: Usable(%d, %s) = %d, %v; want %d", c.name, c.size, c.overhead, usable, err, c.usable)
		}
	}
	for _, c := range []struct {
		size     int64
		overhead Overhead
		err      error
	}{{-1, 60, errdef.ErrUsage}, {1, -1, errdef.ErrUsage}, {1, 1001, errdef.ErrUsage}, {math.MaxInt64 - 1<<21, 60, errdef.ErrLimit}, {math.MaxInt64, 0, errdef.ErrLimit}} {
		if n, err := Required(c.size, c.overhead); !errors.Is(err, c.err) {
			t.Errorf("Required(%d, %d) = %d, %v; want %v", c.size, c.overhead, n, err, c.err)
		}
	}
}

// FuzzOverhead compares with exact fractions, and holds the promise that what is required suffices.
func FuzzOverhead(f *testing.F) {
	f.Add(int64(10<<30), 60)
	f.Add(int64(1), 999)
	f.Add(int64(math.MaxInt64), 1000)
	f.Fuzz(func(t *testing.T, size int64, thousandths int) {
		o := Overhead(thousandths)
		if size < 0 || o < 0 || o > 1000 {
			return
		}
		usable, err := Usable(size, o)
		if err != nil || usable > size {
			t.Fatalf("Usable(%d, %s) = %d, %v", size, o, usable, err)
		}
		required, err := Required(size, o)
		if err != nil {
			if !errors.Is(err, errdef.ErrLimit) {
				t.Fatal(err)
			}
			return
		}
		aligned, _ := AlignUp(size, Alignment)
		want := new(big.Int).Mul(big.NewInt(aligned), big.NewInt(int64(1000+o)))
		want.Add(want, big.NewInt(999)).Div(want, big.NewInt(1000))
		if want.Cmp(big.NewInt(required)) != 0 {
			t.Fatalf("Required(%d, %s) = %d, want %s", size, o, required, want)
		}
		if usable, err := Usable(required, o); err != nil || usable < size {
			t.Fatalf("a disk of %d needs %d, of which %d is usable (%v)", size, required, usable, err)
		}
	})
}
