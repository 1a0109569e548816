package servers

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cdictl/cdictl/test/internal/proc"
)

// S3 is a versitygw with one bucket, images.
type S3 struct {
	URL string
	// Keys is a folder as --s3-keys takes it.
	Keys string
}

// Who may use an S3.
const (
	S3AccessKey = "AKIDOFTHETESTSUITE"
	S3SecretKey = "s3cr3t/k3y+that-nobody-may-see"
	S3Region    = "us-east-1"
)

// StartS3 runs one until the test ends.
func StartS3(t testing.TB) *S3 {
	t.Helper()
	proc.Need(t, "curl")
	bin := tool(t, "versitygw", "github.com/versity/versitygw/cmd/versitygw")
	dir := t.TempDir()
	s := &S3{Keys: filepath.Join(dir, "keys")}
	for _, d := range []string{"data/images", "keys"} {
		must(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	must(t, os.WriteFile(filepath.Join(s.Keys, "accessKeyId"), []byte(S3AccessKey), 0o600))
	must(t, os.WriteFile(filepath.Join(s.Keys, "secretKey"), []byte(S3SecretKey), 0o600))
	env := []string{"ROOT_ACCESS_KEY_ID=" + S3AccessKey, "ROOT_SECRET_ACCESS_KEY=" + S3SecretKey}
	s.URL = "http://" + run(t, bin, env, func(host, port string) []string {
		return []string{"--port", host + ":" + port, "--region", S3Region, "--quiet", "--keep-alive", "posix", filepath.Join(dir, "data")}
	})
	return s
}

// Put stores the file at path under key. It is curl that signs the request, so that our own signature has nothing to agree
// with but the server.
func (s *S3) Put(t testing.TB, key, path string) {
	t.Helper()
	_, err := proc.Tool(t.Context(), "curl", "-sS", "--fail-with-body", "--aws-sigv4", "aws:amz:"+S3Region+":s3",
		"--user", S3AccessKey+":"+S3SecretKey, "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD", "-T", path, s.URL+"/images/"+key)
	must(t, err)
}
