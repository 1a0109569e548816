// Package apitest is cmd/internal/apitest, where new tests import it from: the commands outside the agent need it too.
package apitest

import (
	"testing"

	"github.com/cdictl/cdictl/cmd/internal/apitest"
)

// Env and Options are those of cmd/internal/apitest.
type (
	Env     = apitest.Env
	Options = apitest.Options
)

// Main is apitest.Main.
func Main(m *testing.M, o Options) { apitest.Main(m, o) }

// Start is apitest.Start.
func Start(t testing.TB) *Env {
	t.Helper()
	return apitest.Start(t)
}
