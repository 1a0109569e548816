package resize

import (
	"fmt"
	"math/big"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
)

// units by suffix: those of Kubernetes quantities, and Ki, Mi, … with a B. Longer ones first.
var units = []struct {
	suffix string
	bytes  int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"PiB", 1 << 50}, {"EiB", 1 << 60},
	{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"Ti", 1 << 40}, {"Pi", 1 << 50}, {"Ei", 1 << 60},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"PB", 1e15}, {"EB", 1e18},
	{"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12}, {"P", 1e15}, {"E", 1e18},
	{"B", 1},
}

// ParseSize reads a size as Kubernetes quantities are written: "20Gi" is binary, "20G" decimal, "1.5Gi" and plain bytes
// are right, and a fraction of a byte is rounded up. "GiB" and "GB" mean what they say. A negative size, or one that no
// int64 holds, is errdef.ErrUsage.
func ParseSize(s string) (int64, error) {
	number, unit := s, int64(1)
	for _, u := range units {
		if n, ok := strings.CutSuffix(s, u.suffix); ok {
			number, unit = strings.TrimSpace(n), u.bytes
			break
		}
	}
	bad := func(why string) error {
		return errdef.WithHint(fmt.Errorf("size %.40q %s: %w", s, why, errdef.ErrUsage), "write it like 20Gi, 20G or 21474836480")
	}
	whole, fraction, dot := strings.Cut(number, ".")
	if len(number) > 40 || !digits(whole) || dot && !digits(fraction) {
		return 0, bad("is not a number with a unit")
	}
	r, ok := new(big.Rat).SetString(number)
	if !ok {
		return 0, bad("is not a number with a unit")
	}
	r.Mul(r, new(big.Rat).SetInt64(unit))
	n, rest := new(big.Int).QuoRem(r.Num(), r.Denom(), new(big.Int))
	if rest.Sign() != 0 {
		n.Add(n, big.NewInt(1))
	}
	if !n.IsInt64() {
		return 0, bad("is too large")
	}
	return n.Int64(), nil
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// FormatSize writes n so that ParseSize reads it back: in the largest binary unit that divides it, else in bytes.
func FormatSize(n int64) string {
	for _, u := range []struct {
		suffix string
		bytes  int64
	}{{"Ei", 1 << 60}, {"Pi", 1 << 50}, {"Ti", 1 << 40}, {"Gi", 1 << 30}, {"Mi", 1 << 20}, {"Ki", 1 << 10}} {
		if n != 0 && n%u.bytes == 0 {
			return fmt.Sprintf("%d%s", n/u.bytes, u.suffix)
		}
	}
	return fmt.Sprint(n)
}
