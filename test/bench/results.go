//go:build linux

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cdictl/cdictl/test/internal/proc"
)

// results are the accounts of a contest: runs[contestant][round].
type results struct {
	*contest
	runs      [][]proc.Usage
	allocated []int64
}

// spread is min, median and max of one figure over the rounds.
type spread [3]float64

func spreadOf(values []float64) spread {
	v := slices.Sorted(slices.Values(values))
	return spread{v[0], (v[(len(v)-1)/2] + v[len(v)/2]) / 2, v[len(v)-1]}
}

func (s spread) String() string { return fmt.Sprintf("%.2f/%.2f/%.2f", s[0], s[1], s[2]) }

func wall(u proc.Usage) float64 { return u.Wall.Seconds() }
func cpu(u proc.Usage) float64  { return u.CPU.Seconds() }
func peak(u proc.Usage) float64 { return float64(u.PeakRSS) / (1 << 20) }

func (r *results) figure(i int, f func(proc.Usage) float64) spread {
	values := make([]float64, len(r.runs[i]))
	for round, u := range r.runs[i] {
		values[round] = f(u)
	}
	return spreadOf(values)
}

// ratio is ours by contestant i's, taken within each round.
func (r *results) ratio(i int, f func(proc.Usage) float64) spread {
	values := make([]float64, len(r.runs[i]))
	for round, u := range r.runs[i] {
		values[round] = f(r.runs[0][round]) / max(f(u), 1e-3)
	}
	return spreadOf(values)
}

func (r *results) markdown(w io.Writer) {
	fmt.Fprintf(w, "\n## %s\n\n", r.name)
	fmt.Fprintln(w, "| who | wall s | CPU s | peak MiB | disk MiB | wall, ours/theirs | CPU, ours/theirs |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|")
	for i, c := range r.contestants {
		wallRatio, cpuRatio := "–", "–"
		if i > 0 {
			wallRatio, cpuRatio = r.ratio(i, wall).String(), r.ratio(i, cpu).String()
		}
		fmt.Fprintf(w, "| %s | %v | %v | %.0f | %d | %s | %s |\n",
			strings.ReplaceAll(c.name, "|", `\|`), r.figure(i, wall), r.figure(i, cpu), r.figure(i, peak)[2], r.allocated[i]>>20, wallRatio, cpuRatio)
	}
}

// above names the contest if ours took more wall time than limit times qemu-img's at its best; limit 0: never.
func (r *results) above(limit float64) []string {
	if !r.gated || limit <= 0 {
		return nil
	}
	for i, c := range r.contestants {
		if median := r.ratio(i, wall)[1]; c.name == best && median > limit {
			return []string{fmt.Sprintf("%s takes %.2f of %s", r.name, median, best)}
		}
	}
	return nil
}
