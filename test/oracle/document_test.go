package oracle

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cdictl/cdictl/test/internal/proc"
)

// The table stands between these lines of docs/formats.md.
const (
	tableBegin = "<!-- table: make table -->\n"
	tableEnd   = "<!-- end of table -->\n"
)

// document holds docs/formats.md to what the rows say, or makes it say that.
func document(rows []row, write bool) error {
	root, err := proc.Root()
	if err != nil {
		return err
	}
	path := filepath.Join(root, "docs", "formats.md")
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(b), tableBegin)
	old, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		return fmt.Errorf("%s: no place for the table", path)
	}
	text := markdown(rows)
	switch {
	case text == old:
		return nil
	case !write:
		return fmt.Errorf("%s: the table is not what was found; `make table` writes it", path)
	}
	return os.WriteFile(path, []byte(before+tableBegin+text+tableEnd+after), 0o644)
}

// markdown is the table with a row for each group of kinds of a format to which the same befell.
func markdown(rows []row) string {
	var b strings.Builder
	b.WriteString("| format | kinds | made by |")
	for _, w := range ways {
		fmt.Fprintf(&b, " %s |", w.name)
	}
	b.WriteString("\n|" + strings.Repeat("---|", 3+len(ways)) + "\n")
	type group struct{ format, by, cells string }
	var order []group
	kinds := map[group][]string{}
	for _, r := range rows {
		g := group{r.kind.Format, r.kind.MadeBy(), ""}
		for _, got := range r.got {
			mark := got
			if got != refused && got != absent {
				mark = "✓"
			}
			g.cells += " " + mark + " |"
		}
		name := r.kind.Name
		if r.disk != "active" {
			name += " (" + r.disk + ")"
		}
		if kinds[g] == nil {
			order = append(order, g)
		}
		kinds[g] = append(kinds[g], name)
	}
	slices.SortStableFunc(order, func(a, b group) int { return slices.Index(formats, a.format) - slices.Index(formats, b.format) })
	for _, g := range order {
		fmt.Fprintf(&b, "| %s | %s | %s |%s\n", g.format, strings.Join(kinds[g], ", "), g.by, g.cells)
	}
	return b.String()
}

// formats are those of the table in its order.
var formats = []string{"raw", "qcow2", "vmdk", "vpc", "vdi", "vhdx"}
