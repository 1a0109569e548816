// Package report prints what a suite found as an aligned table with a closing line of passes and failures.
package report

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
)

// Table collects rows; safe for concurrent use.
type Table struct {
	Title  string
	Header []string

	mu             sync.Mutex
	rows           [][]string
	passed, failed int
	notes          []string
}

// Row adds a row.
func (t *Table) Row(cells ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, cells)
}

// Count adds a check to the closing line; a failure's text is printed under the table.
func (t *Table) Count(name string, problem error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if problem == nil {
		t.passed++
		return
	}
	t.failed++
	t.notes = append(t.notes, fmt.Sprintf("FAIL %s: %v", name, problem))
}

// Append takes over what another table has, which nobody writes any more.
func (t *Table) Append(o *Table) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, o.rows...)
	t.notes = append(t.notes, o.notes...)
	t.passed += o.passed
	t.failed += o.failed
}

// Failed is the number of failures so far.
func (t *Table) Failed() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed
}

// Print writes the table, the failures and the closing line.
func (t *Table) Print(w io.Writer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(w, "\n%s\n\n", t.Title)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, strings.Join(t.Header, "\t"))
	for _, r := range t.rows {
		fmt.Fprintln(tw, strings.Join(r, "\t"))
	}
	tw.Flush()
	fmt.Fprintln(w)
	for _, n := range t.notes {
		fmt.Fprintln(w, n)
	}
	fmt.Fprintf(w, "%d passed, %d failed\n", t.passed, t.failed)
}
