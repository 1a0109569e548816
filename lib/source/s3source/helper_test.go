package s3source_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/cdictl/cdictl/lib/internal/testserver"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/httpsource"
	"github.com/cdictl/cdictl/lib/source/s3source"
)

const (
	accessKey = "AKIDEXAMPLEOFOURS"
	secretKey = "s3cr3t-k3y-that-nobody-may-see"
	region    = "eu-test-1"
)

func quick() s3source.Options {
	return s3source.Options{HTTP: httpsource.Options{Backoff: time.Millisecond, Retries: 30},
		Credentials: s3source.Static(accessKey, secretKey, ""), Region: region}
}

// bucket is one of a real server.
type bucket struct{ url string }

func start(t *testing.T) bucket {
	t.Helper()
	b := bucket{testserver.Versitygw{AccessKey: accessKey, SecretKey: secretKey, Region: region,
		Require: os.Getenv("CDICTL_REQUIRE_SERVERS") == "1"}.Start(t) + "/images"}
	b.do(t, http.MethodPut, "", nil)
	return b
}

// do makes a signed request, and returns its answer's header.
func (b bucket) do(t *testing.T, method, rest string, body []byte) http.Header {
	t.Helper()
	r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), method, b.url+rest, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	r.Header.Set("X-Amz-Content-Sha256", hash)
	err = v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: accessKey, SecretAccessKey: secretKey}, r, hash, "s3", region,
		time.Now(), func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(resp.Body)
	if resp.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s %s", method, rest, resp.Status, said)
	}
	return resp.Header
}

func (b bucket) put(t *testing.T, key string, content []byte) http.Header {
	t.Helper()
	return b.do(t, http.MethodPut, "/"+key, content)
}

func newSource(t testing.TB, name string, o s3source.Options) *s3source.Source {
	t.Helper()
	s, err := s3source.New(name, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func fetch(ctx context.Context, s source.Source) ([]byte, error) {
	b, err := s.Open(ctx, source.Env{})
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return io.ReadAll(b)
}

func random(n int, seed byte) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}
