package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/cdictl/cdictl/cmd/cdictl/cli/meter"
	"github.com/cdictl/cdictl/lib/importer"
)

// answer writes what a command was asked for: JSON, or its text. An error of stdout is an error of the command.
func answer(w io.Writer, asJSON bool, v fmt.Stringer) error {
	if !asJSON {
		return write(w, strings.TrimRight(v.String(), "\n")+"\n")
	}
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return write(w, string(b)+"\n")
}

func write(w io.Writer, s string) error {
	if _, err := io.WriteString(w, s); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// A result is an importer.Result, as JSON the same, that tells itself to people.
type result importer.Result

// String is a line that says what was made, and one for each thing worth knowing of how.
func (r result) String() string {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-9s %s\n", name, clean(fmt.Sprintf(format, args...)))
	}
	fmt.Fprintf(&b, "%s: raw disk of %s (%d bytes)\n", clean(r.Target), meter.Size(r.VirtualSize), r.VirtualSize)
	row("source", "%s", r.Source)
	what := r.Format
	if r.Codec != "" {
		what += " in " + r.Codec
	}
	if r.ImageSize != r.VirtualSize {
		what += ", grown from " + meter.Size(r.ImageSize)
	}
	row("image", "%s", what)
	row("route", "%s (%s)", r.Route, r.Reason)
	moved := "fetched " + meter.Size(r.Fetched)
	if r.StoredSize > 0 {
		moved += " (the image has " + meter.Size(r.StoredSize) + ")"
	}
	if r.Passes > 1 {
		moved += fmt.Sprintf(" in %d passes", r.Passes)
	}
	if r.HeldMax > 0 {
		moved += ", held " + meter.Size(r.HeldMax)
	}
	if r.Spooled > 0 {
		moved += ", spooled " + meter.Size(r.Spooled)
	}
	row("moved", "%s, wrote %s", moved, meter.Size(r.Written))
	if r.Resumed {
		row("resumed", "%s were there from an interrupted import", meter.Size(r.Kept))
	}
	image := strings.HasPrefix(r.Identity, "sha256:") || strings.HasPrefix(r.Identity, "sha512:") // of a manifest
	switch {
	case r.Digest != "":
		row("verified", "%s", r.Digest)
	case image:
		row("verified", "by the digests of the container image")
	default:
		row("verified", "no checksum was given")
	}
	if image {
		row("manifest", "%s", r.Identity)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Labels)) {
		row("label", "%s=%s", name, r.Labels[name])
	}
	row("time", "%.1f s", r.Seconds)
	return b.String()
}
