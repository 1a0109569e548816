// Package testimage makes disk images with the real qemu-img and qemu-io, and asks qemu-img what is in them: the oracle
// of the format tests. It serves tests, and programs that print what the tests compare.
package testimage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// RequireEnv makes a missing tool a failure when it is "1"; without it a test is skipped.
const RequireEnv = "CDICTL_REQUIRE_TOOLS"

// Missing says which of the tools are not installed; nil if all are.
func Missing(tools ...string) error {
	var missing []string
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, tool)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("not installed: %s", strings.Join(missing, ", "))
	}
	return nil
}

// Require skips the test if a tool is missing, or fails it if CDICTL_REQUIRE_TOOLS is 1.
func Require(t testing.TB, tools ...string) {
	t.Helper()
	err := Missing(tools...)
	switch {
	case err == nil:
	case os.Getenv(RequireEnv) == "1":
		t.Fatalf("%v (%s=1)", err, RequireEnv)
	default:
		t.Skip(err)
	}
}

// Run runs a tool and returns its standard output.
func Run(ctx context.Context, tool string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, tool, args...)
	var out, talk bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &talk
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", tool, strings.Join(args, " "), err, strings.TrimSpace(talk.String()+out.String()))
	}
	return out.Bytes(), nil
}

// Raw converts the image at path to raw, at to, by qemu-img. args go before the names: "-l", "snapshot.name=x", …
func Raw(ctx context.Context, path, to string, args ...string) error {
	_, err := Run(ctx, "qemu-img", append(append([]string{"convert", "-O", "raw"}, args...), path, to)...)
	return err
}

// Digest is the SHA-256, in hex, of what qemu-img makes of the image at path. args are as for [Raw]. It needs a place for
// the raw disk, which is in dir.
func Digest(ctx context.Context, dir, path string, args ...string) (string, error) {
	to := filepath.Join(dir, filepath.Base(path)+".oracle")
	defer os.Remove(to)
	if err := Raw(ctx, path, to, args...); err != nil {
		return "", err
	}
	f, err := os.Open(to)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return Sum(f)
}

// Sum is the SHA-256 of r in hex.
func Sum(r io.Reader) (string, error) {
	h := sha256.New()
	if _, err := io.CopyBuffer(h, struct{ io.Reader }{r}, make([]byte, 1<<20)); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// RawDigest is [Digest] for a test.
func RawDigest(t testing.TB, path string, args ...string) string {
	t.Helper()
	sum, err := Digest(t.Context(), t.TempDir(), path, args...)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// A MapEntry is an element of the output of qemu-img map.
type MapEntry struct {
	Start      int64  `json:"start"`
	Length     int64  `json:"length"`
	Present    bool   `json:"present"`
	Zero       bool   `json:"zero"`
	Data       bool   `json:"data"`
	Compressed bool   `json:"compressed"`
	Offset     *int64 `json:"offset"`
}

// Map is qemu-img map of the active disk of the image at path.
func Map(ctx context.Context, path string) ([]MapEntry, error) {
	out, err := Run(ctx, "qemu-img", "map", "--output=json", path)
	if err != nil {
		return nil, err
	}
	var entries []MapEntry
	if err := json.Unmarshal(out, &entries); err != nil {
		return nil, fmt.Errorf("qemu-img map %s: %w", path, err)
	}
	return entries, nil
}
