package plan

import (
	"errors"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
)

func TestMake(t *testing.T) {
	file := Facts{Format: "qcow2", Tables: true, Mapped: true, RandomAccess: true, Local: true, Spool: true}
	remote := file
	remote.Local = false
	with := func(f Facts, change func(*Facts)) Facts { change(&f); return f }
	raw := Facts{Format: "raw", RandomAccess: true, Local: true}

	for name, c := range map[string]struct {
		facts Facts
		want  Plan
		err   error
	}{
		"qcow2 file":             {facts: file, want: Plan{Route: Direct, Passes: 1}},
		"qcow2 http":             {facts: remote, want: Plan{Route: Direct, Passes: 1}},
		"qcow2 http to a pipe":   {facts: with(remote, func(f *Facts) { f.Ordered = true }), want: Plan{Route: Direct, Passes: 1}},
		"qcow2 file, checksum":   {facts: with(file, func(f *Facts) { f.Checksum = true }), want: Plan{Route: Hashed, Passes: 1}},
		"qcow2 http, checksum":   {facts: with(remote, func(f *Facts) { f.Checksum = true }), want: Plan{Route: Hashed, Passes: 1}},
		"backing file, checksum": {facts: with(file, func(f *Facts) { f.Checksum, f.Mapped = true, false }), want: Plan{Route: Direct, Passes: 2, HashFirst: true}},
		"file, checksum, pipe":   {facts: with(file, func(f *Facts) { f.Checksum, f.Ordered = true, true }), want: Plan{Route: Direct, Passes: 2, HashFirst: true}},
		"http, checksum, pipe":   {facts: with(remote, func(f *Facts) { f.Checksum, f.Ordered = true, true }), want: Plan{Route: Spool, Passes: 1}},
		"http, checksum, pipe, no spool": {
			facts: with(remote, func(f *Facts) { f.Checksum, f.Ordered, f.Spool = true, true, false }), err: errdef.ErrScratchNeeded},
		"qcow2.xz":            {facts: with(remote, func(f *Facts) { f.Codec = "xz" }), want: Plan{Route: Spool, Passes: 1}},
		"qcow2.xz, no spool":  {facts: with(remote, func(f *Facts) { f.Codec, f.Spool = "xz", false }), err: errdef.ErrScratchNeeded},
		"qcow2 stream":        {facts: with(remote, func(f *Facts) { f.RandomAccess = false }), want: Plan{Route: Spool, Passes: 1}},
		"stream decoder":      {facts: with(remote, func(f *Facts) { f.Codec, f.Streams = "xz", true }), want: Plan{Route: StreamConvert, Passes: 1, Fallback: SpoolHeld}},
		"decoder, reopenable": {facts: with(remote, func(f *Facts) { f.Codec, f.Streams, f.Again = "xz", true, true }), want: Plan{Route: StreamConvert, Passes: 1, Fallback: AnotherPass}},
		"decoder, no spool":   {facts: with(remote, func(f *Facts) { f.Codec, f.Streams, f.Spool = "xz", true, false }), want: Plan{Route: StreamConvert, Passes: 1, Fallback: NeedScratch}},
		"decoder, pipe":       {facts: with(remote, func(f *Facts) { f.Codec, f.Streams, f.Ordered = "xz", true, true }), want: Plan{Route: Spool, Passes: 1}},
		"raw file":            {facts: raw, want: Plan{Route: Direct, Passes: 1}},
		"raw file, checksum":  {facts: with(raw, func(f *Facts) { f.Checksum = true }), want: Plan{Route: Stream, Passes: 1}},
		"raw http":            {facts: with(raw, func(f *Facts) { f.Local = false }), want: Plan{Route: Stream, Passes: 1}},
		"raw.gz file":         {facts: with(raw, func(f *Facts) { f.Codec = "gzip" }), want: Plan{Route: Stream, Passes: 1}},
		"raw stdin, checksum": {facts: Facts{Format: "raw", Checksum: true}, want: Plan{Route: Stream, Passes: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Make(c.facts)
			if !errors.Is(err, c.err) {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if err != nil {
				if errdef.Hint(err) == "" {
					t.Error("no hint")
				}
				return
			}
			if got.Reason == "" {
				t.Error("no reason")
			}
			got.Reason = ""
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}
