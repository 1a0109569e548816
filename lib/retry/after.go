package retry

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// ParseAfter reads the value of a Retry-After header (RFC 9110, section 10.2.3): seconds, or an HTTP date, which is
// taken relative to now. ok is false for anything else. A date in the past is 0.
func ParseAfter(value string, now time.Time) (d time.Duration, ok bool) {
	value = strings.TrimSpace(value)
	if value == "" {
		return 0, false
	}
	if strings.Trim(value, "0123456789") == "" {
		const longest = int64(math.MaxInt64 / time.Second)
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n > longest { // only overflow is left: a very long time
			n = longest
		}
		return time.Duration(n) * time.Second, true
	}
	t, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	return max(t.Sub(now), 0), true
}
