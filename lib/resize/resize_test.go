package resize

import (
	"errors"
	"math"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
)

func TestDisk(t *testing.T) {
	for _, c := range []struct {
		image, requested, want int64
		err                    error
	}{
		{0, 0, 0, nil},
		{1, 0, 512, nil},
		{1 << 30, 0, 1 << 30, nil},
		{1 << 30, 1 << 30, 1 << 30, nil},
		{1 << 30, 2 << 30, 2 << 30, nil},
		{1 << 30, 2<<30 + 1, 2<<30 + 512, nil},
		{1 << 30, 1<<30 - 1, 0, errdef.ErrTooSmall},
		{math.MaxInt64, 0, 0, errdef.ErrLimit},
		{-1, 0, 0, errdef.ErrUsage},
	} {
		got, err := Disk(c.image, c.requested)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("Disk(%d, %d) = %d, %v; want %d, %v", c.image, c.requested, got, err, c.want, c.err)
		}
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{
		"0": 0, "512": 512, "20Gi": 20 << 30, "20GiB": 20 << 30, "20G": 20e9, "20GB": 20e9, "1.5Ki": 1536, "0.1": 1, "1k": 1000,
		"8Ei": -1, "7Ei": 7 << 60, "9223372036854775807": math.MaxInt64, "9223372036854775808": -1,
		"": -1, "G": -1, "-1": -1, "+1": -1, "1e3": -1, "1/2": -1, "0x10": -1, ".5": -1, "5.": -1, "1 G": 1e9, "Inf": -1, "1_0": -1,
	} {
		got, err := ParseSize(s)
		if want < 0 {
			if !errors.Is(err, errdef.ErrUsage) || errdef.Hint(err) == "" {
				t.Errorf("ParseSize(%q) = %d, %v; want ErrUsage with a hint", s, got, err)
			}
		} else if got != want || err != nil {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", s, got, err, want)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"20Gi", "1.5k", "9223372036854775807", "x", "0.00000001Ei"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseSize(s)
		if err != nil {
			return
		}
		if n < 0 {
			t.Fatalf("%q is %d", s, n)
		}
		if again, err := ParseSize(FormatSize(n)); err != nil || again != n {
			t.Fatalf("%q is %d, written %q, read %d, %v", s, n, FormatSize(n), again, err)
		}
	})
}
