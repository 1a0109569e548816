package job

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/cdictl/cdictl/lib/errdef"
)

const (
	// MaxSpecSize bounds a Spec; a Secret, in which it travels, holds no more.
	MaxSpecSize = 1 << 20
	// MaxProgressSize bounds what a manager reads of a worker's answer.
	MaxProgressSize = 64 << 10
)

// Parse reads a Spec and validates it. Errors are errdef.ErrUsage and show no value that may be secret.
func Parse(b []byte) (Spec, error) {
	var s Spec
	if err := decode(b, MaxSpecSize, "spec", &s); err != nil {
		return Spec{}, err
	}
	if err := s.Validate(); err != nil {
		return Spec{}, err
	}
	return s, nil
}

// ReadFile is Parse of the file at path.
func ReadFile(path string) (Spec, error) {
	f, err := os.Open(path)
	if err != nil {
		return Spec{}, fmt.Errorf("job spec: %w: %w", err, errdef.ErrUsage)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxSpecSize+1))
	if err != nil {
		return Spec{}, fmt.Errorf("job spec: %w: %w", err, errdef.ErrUsage)
	}
	return Parse(b)
}

// Encode validates s and writes it as Parse reads it. An empty Version becomes ours.
func (s Spec) Encode() ([]byte, error) {
	if s.Version == "" {
		s.Version = Version
	}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	return json.Marshal(s)
}

// ParseResult reads a termination message.
func ParseResult(b []byte) (Result, error) {
	var r Result
	if err := decode(b, MaxResultSize, "result", &r); err != nil {
		return Result{}, err
	}
	switch r.Outcome {
	case Succeeded, Retry, Failed:
		return r, nil
	}
	return Result{}, fmt.Errorf("job result: outcome %.60q is not known: %w", r.Outcome, errdef.ErrUsage)
}

// ParseProgress reads what a worker answers on /progress.
func ParseProgress(b []byte) (Progress, error) {
	var p Progress
	if err := decode(b, MaxProgressSize, "progress", &p); err != nil {
		return Progress{}, err
	}
	return p, nil
}
