package containerdisk

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/source/registrysource"
)

// TestKept: what an index says beside the entry of our platform stays, whether we know it or not.
func TestKept(t *testing.T) {
	const ours = `{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:aa","size":1,"platform":{"os":"linux","architecture":"arm64","variant":"v8"}}`
	const others = `{"mediaType":"x/y","digest":"sha256:bb","size":2,"platform":{"os":"linux","architecture":"arm","variant":"v6"},"artifactType":"<a>","data":"e30="},` +
		`{"digest":"sha256:cc","size":3,"platform":{"os":"unknown","architecture":"unknown"},"annotations":{"vnd.docker.reference.type":"attestation-manifest"}},` +
		`{"digest":"sha256:dd","size":12345678901234567}`
	was := document{kindDockerList, []byte(`{"schemaVersion":2,"mediaType":"` + kindDockerList + `","annotations":{"k":"v"},"manifests":[` + ours + `,` + others + `],"later":[1]}`)}
	m := document{kindManifest, []byte(`{}`)}
	got, n, err := appended(t.Context(), nil, &was, m, registrysource.Platform{OS: "linux", Architecture: "arm64"})
	if err != nil {
		t.Fatal(err)
	}
	mine := `{"mediaType":"` + kindManifest + `","digest":"` + digestOf(m.text) + `","size":2,"platform":{"os":"linux","architecture":"arm64"}}`
	want := `{"annotations":{"k":"v"},"later":[1],"manifests":[` + mine + `,` + others + `],"mediaType":"` + kindIndex + `","schemaVersion":2}`
	if string(got.text) != want || n != 4 || got.kind != kindIndex {
		t.Errorf("%d images:\n%s\nwant\n%s", n, got.text, want)
	}
	again, _, err := appended(t.Context(), nil, &got, m, registrysource.Platform{OS: "linux", Architecture: "arm64"})
	if err != nil || string(again.text) != want {
		t.Errorf("again: %s, %v", again.text, err)
	}
}

func TestReceived(t *testing.T) {
	for text, want := range map[string]int64{"0-0": 0, "0-99": 100, "bytes=0-99": 100, "": -1, "1-5": -1, "0-": -1, "0--5": -1, "0-x": -1, "0-9999999999999999999": -1, "0-9223372036854775807": -1} {
		n, ok := received(http.Header{"Range": {text}})
		if ok != (want >= 0) || ok && n != want {
			t.Errorf("%q: %d, %v", text, n, ok)
		}
	}
}

// FuzzAppended: whatever a tag names, what comes out is an index with our entry, or an error.
func FuzzAppended(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"x","platform":{"os":"linux","architecture":"amd64"}}]}`))
	f.Add([]byte(`{"manifests":null}`))
	f.Add([]byte(`{"manifests":[null,{}]}`))
	f.Add([]byte(`{"config":{"digest":"sha256:00"}}`))
	m := document{kindManifest, []byte(`{}`)}
	f.Fuzz(func(t *testing.T, text []byte) {
		if strings.Contains(string(text), "config") {
			return // that asks a store
		}
		got, n, err := appended(t.Context(), nil, &document{kindIndex, text}, m, registrysource.Platform{OS: "linux", Architecture: "amd64"})
		if err != nil {
			return
		}
		var index struct {
			SchemaVersion int
			Manifests     []json.RawMessage
		}
		if err := json.Unmarshal(got.text, &index); err != nil || index.SchemaVersion != 2 || len(index.Manifests) != n || !strings.Contains(string(got.text), digestOf(m.text)) {
			t.Fatalf("%s, %v", got.text, err)
		}
	})
}
