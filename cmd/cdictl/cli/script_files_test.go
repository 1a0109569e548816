//go:build unix

package cli_test

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"hash"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"
)

// fill FILE SIZE [SEED]: a file of that size with data, zeros, data: a third each. The same seed, the same bytes.
func fill(ts *testscript.TestScript, _ bool, args []string) {
	seed := int64(1)
	if len(args) > 2 {
		seed = number(ts, args[2])
	}
	b := make([]byte, number(ts, args[1]))
	rng := rand.New(rand.NewPCG(uint64(seed), 0))
	for i := range b {
		if i < len(b)/3 || i >= len(b)/3*2 {
			b[i] = byte(rng.Uint32())
		}
	}
	path := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(filepath.Dir(path), 0o755))
	ts.Check(os.WriteFile(path, b, 0o644))
}

// digest VARIABLE FILE [ALGORITHM]: the hexadecimal digest of the file, SHA-256 if nothing else is asked for.
func digest(ts *testscript.TestScript, _ bool, args []string) {
	alg := "sha256"
	if len(args) > 2 {
		alg = args[2]
	}
	h := map[string]func() hash.Hash{"md5": md5.New, "sha1": sha1.New, "sha256": sha256.New, "sha512": sha512.New}[alg]()
	h.Write([]byte(ts.ReadFile(args[1])))
	ts.Setenv(args[0], hex.EncodeToString(h.Sum(nil)))
}

// mask FILE KEY…: rewrite a JSON file with these values, wherever they are, as "*", and demand that they are there.
func mask(ts *testscript.TestScript, _ bool, args []string) {
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &v))
	for _, key := range args[1:] {
		if !maskKey(v, key) {
			ts.Fatalf("%s has no key %s", args[0], key)
		}
	}
	b, err := json.MarshalIndent(v, "", "  ")
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), append(b, '\n'), 0o644))
}

func maskKey(v any, key string) (found bool) {
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			if k == key {
				v[k], found = "*", true
			} else if maskKey(inner, key) {
				found = true
			}
		}
	case []any:
		for _, inner := range v {
			found = maskKey(inner, key) || found
		}
	}
	return found
}
