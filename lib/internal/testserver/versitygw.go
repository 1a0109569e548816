package testserver

import (
	"os"
	"path/filepath"
	"testing"
)

// Versitygw says how to run versitygw, an S3 server on a folder.
type Versitygw struct {
	AccessKey, SecretKey string
	Region               string
	// Require makes a program that is not built yet built, instead of a skip.
	Require bool
}

// Start runs it on a loopback port until the test ends, and returns its URL. Buckets may have versions.
func (v Versitygw) Start(t testing.TB) string {
	t.Helper()
	bin := tool(t, "versitygw", "github.com/versity/versitygw/cmd/versitygw", v.Require)
	dir := t.TempDir()
	for _, d := range []string{"data", "versions"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{"ROOT_ACCESS_KEY_ID=" + v.AccessKey, "ROOT_SECRET_ACCESS_KEY=" + v.SecretKey}
	addr := run(t, bin, env, func(host, port string) []string {
		return []string{"--port", host + ":" + port, "--region", v.Region, "--quiet", "--keep-alive",
			"posix", "--versioning-dir", filepath.Join(dir, "versions"), filepath.Join(dir, "data")}
	})
	return "http://" + addr
}
