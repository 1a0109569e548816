package progress

import (
	"encoding/json"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTracker(t *testing.T) {
	tr := new(Tracker)
	tr.SetTotal(100)
	tr.SetStoredTotal(50)
	tr.SetPhase("reading")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				tr.AddVirtual(3)
				tr.AddStored(2)
				tr.AddSpooled(1)
				tr.Snapshot()
			}
		})
	}
	wg.Wait()
	want := Snapshot{Phase: "reading", Total: 100, Virtual: 24000, StoredTotal: 50, Stored: 16000, Spooled: 8000}
	if diff := cmp.Diff(want, tr.Snapshot()); diff != "" {
		t.Error(diff)
	}
	tr.SetTotal(-1)
	tr.SetStoredTotal(-1) // unknown, as source.Info tells it
	if s := tr.Snapshot(); s.Total != 0 || s.StoredTotal != 0 {
		t.Errorf("unknown totals are %d and %d", s.Total, s.StoredTotal)
	}
}

func TestNil(t *testing.T) {
	var tr *Tracker
	tr.SetTotal(1)
	tr.SetStoredTotal(1)
	tr.SetPhase("x")
	tr.AddVirtual(1)
	tr.AddStored(1)
	tr.AddSpooled(1)
	if s := tr.Snapshot(); s != (Snapshot{}) {
		t.Errorf("nil counts: %+v", s)
	}
}

// The JSON names are what --progress json promises.
func TestJSON(t *testing.T) {
	b, err := json.Marshal(Snapshot{Phase: "reading", Total: 1, Virtual: 2, StoredTotal: 3, Stored: 4, Spooled: 5})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"phase":"reading","virtualTotal":1,"virtualDone":2,"storedTotal":3,"bytesFetched":4,"bytesSpooled":5}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
}
