package meter

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/schollz/progressbar/v3"

	"github.com/cdictl/cdictl/lib/progress"
)

// The line holds, beside the bar, a percentage, "(9.9 TiB/9.9 TiB, 999.9 MiB/s)", "[99m99s:99m99s]" and the bytes
// fetched: 66 columns. What is left goes to the bar.
const (
	besideBar = 66
	widestBar = 40
	leastBar  = 4 // narrower says nothing
)

// A bar turns snapshots into lines. It draws with progressbar into nowhere and takes the line from it, because only
// who writes to the terminal can cut the line to its width and keep other lines apart from it.
type bar struct {
	pb    *progressbar.ProgressBar
	total int64 // as the snapshot has it
	unit  unit
	// base is what was done at the first look. Of a sparse image that is nearly all of it, because holes are known
	// from its tables: counted in, the bar would begin at 96% and stay there for the minutes that the data takes.
	base int64
}

// unit is what the bar counts.
type unit int

const (
	none    unit = iota
	virtual      // of the virtual size
	stored       // of the stored size, while the virtual one is unknown
	open         // stored bytes, of nobody knows how many
)

// render returns the line for s, at most cols-1 columns long (the last one makes some terminals wrap), or "" while
// there is nothing to say.
func (b *bar) render(s progress.Snapshot, cols int) string {
	done, total, u := choose(s)
	if u == none {
		return ""
	}
	if u != b.unit || total != b.total {
		b.reset(u, done, total)
	}
	if total > 0 {
		done, total = min(done, total)-b.base, total-b.base
		if total <= 0 {
			return ""
		}
	}
	width := min(cols-besideBar, widestBar)
	if width < leastBar {
		width = 0
	}
	theme := progressbar.Theme{Saucer: "█", SaucerPadding: "░"}
	if width == 0 {
		theme = progressbar.Theme{}
	}
	progressbar.OptionSetWidth(width)(b.pb)
	progressbar.OptionSetTheme(theme)(b.pb)
	progressbar.OptionSetDescription(describe(s, u, cols))(b.pb)
	// Its one error, a count beyond the maximum, cannot be: done is cut to total.
	_ = b.pb.Set64(max(done, 0))
	text := strings.Join(strings.FieldsFunc(b.pb.String(), func(r rune) bool { return r == '\r' || r == '\n' }), "")
	return cut(squeeze(text), max(cols-1, 0))
}

// choose picks what to count.
func choose(s progress.Snapshot) (done, total int64, u unit) {
	switch {
	case s.Total > 0:
		return s.Virtual, s.Total, virtual
	case s.StoredTotal > 0:
		return s.Stored, s.StoredTotal, stored
	case s.Stored > 0:
		return s.Stored, -1, open
	}
	return 0, 0, none
}

func (b *bar) reset(u unit, done, total int64) {
	b.unit, b.total, b.base = u, total, 0
	if u == virtual {
		b.base = min(done, total)
		total -= b.base
	}
	b.pb = progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(io.Discard),
		progressbar.OptionShowBytes(true),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionShowCount(),
		progressbar.OptionShowTotalBytes(true),
		progressbar.OptionSetElapsedTime(true),
		progressbar.OptionSetPredictTime(total > 0),
		progressbar.OptionSetSpinnerChangeInterval(0), // otherwise it starts a goroutine of its own
	)
}

// describe is what stands before the bar: the bytes fetched, where they are not what the bar counts.
func describe(s progress.Snapshot, u unit, cols int) string {
	if cols < besideBar || u != virtual || s.Stored == 0 {
		return ""
	}
	d := fmt.Sprintf("fetched %s", Size(s.Stored))
	if s.Spooled > 0 && cols >= besideBar+widestBar {
		d += fmt.Sprintf(", spooled %s", Size(s.Spooled))
	}
	return d
}

// Size is a number of bytes for the eye, in binary units, at most ten columns.
func Size(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1024, 0
	for f >= 999.95 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", f, units[i])
}

// squeeze makes one space of several.
func squeeze(s string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "( ", "(")
}

func columns(s string) int { return utf8.RuneCountInString(s) }

// cut keeps the first n columns.
func cut(s string, n int) string {
	if columns(s) <= n {
		return s
	}
	return string([]rune(s)[:n])
}
