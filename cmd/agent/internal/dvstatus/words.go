package dvstatus

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// tooSmall is the sentence by which clients know that the claim has no room for the image.
const tooSmall = "DataVolume too small to contain image"

// reasons of failures that mean it, and texts by which the words of other workers tell.
var (
	tooSmallReasons = []string{"TargetTooSmall"}
	tooSmallTexts   = []string{
		"is larger than the reported available",
		"no space left on device",
		"file largest block is bigger than maxblock",
		"disk quota exceeded",
	}
)

// simplify begins the message with the sentence that clients look for where the claim is too small.
func simplify(reason, message string) string {
	small := false
	for _, r := range tooSmallReasons {
		small = small || r == reason
	}
	for _, t := range tooSmallTexts {
		small = small || strings.Contains(strings.ToLower(message), t)
	}
	if !small || strings.HasPrefix(message, tooSmall) {
		return message
	}
	return join(": ", tooSmall, message)
}

// transfer says how far it is: "1.2 GiB of 6.0 GiB at 210.0 MiB/s, about 23 s left".
func transfer(p *cdi.Population) string {
	if p.Total <= 0 && p.Done <= 0 && p.Fetched <= 0 {
		return ""
	}
	var b strings.Builder
	switch {
	case p.Total > 0:
		b.WriteString(size(float64(min(p.Done, p.Total))) + " of " + size(float64(p.Total)))
	case p.Done > 0:
		b.WriteString(size(float64(p.Done)))
	default:
		b.WriteString(size(float64(p.Fetched)) + " fetched")
	}
	if p.Rate >= 1 {
		b.WriteString(" at " + size(p.Rate) + "/s")
		if p.Remaining >= 0 && p.Total > p.Done && !math.IsInf(p.Remaining, 0) {
			b.WriteString(", about " + span(p.Remaining) + " left")
		}
	}
	return b.String()
}

// size writes a number of bytes with a binary unit.
func size(n float64) string {
	if math.IsNaN(n) || n < 0 {
		n = 0
	}
	if n < 1024 {
		return fmt.Sprintf("%.0f B", n)
	}
	units := []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	i := -1
	for n >= 1024 && i < len(units)-1 {
		n /= 1024
		i++
	}
	return fmt.Sprintf("%.1f %s", n, units[i])
}

// span writes a number of seconds, as exactly as anybody wants to know.
func span(seconds float64) string {
	s := int64(math.Round(seconds))
	switch {
	case s < 1:
		return "1 s"
	case s < 100:
		return fmt.Sprintf("%d s", s)
	case s < 100*60:
		return fmt.Sprintf("%d min", (s+30)/60)
	}
	h := (s + 1800) / 3600
	if h < 100 {
		return fmt.Sprintf("%d h", h)
	}
	return fmt.Sprintf("%d days", (h+12)/24)
}

// nextTry says when it is tried again. It is a time of day: what counts down would change the status every time it is read.
func nextTry(p *cdi.Population) string {
	if p.NextTry == nil || p.NextTry.IsZero() {
		return ""
	}
	return "tried again at " + p.NextTry.UTC().Format(time.TimeOnly) + " UTC"
}

// join joins what is not empty.
func join(sep string, parts ...string) string {
	kept := parts[:0:0]
	for _, p := range parts {
		if p != "" {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, sep)
}

// say makes a message of what is so, and what to do about it.
func say(message, hint string) string {
	if hint == "" {
		return message
	}
	return join(". Next step: ", strings.TrimRight(message, ". "), hint)
}
