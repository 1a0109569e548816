//go:build !unix

package format

import "testing"

func mkfifo(t *testing.T, _ string) { t.Skip("this system has no FIFOs") }
