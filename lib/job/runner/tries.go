package runner

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/journal"
	"github.com/cdictl/cdictl/lib/job"
)

// tries is what is kept in the state folder from one run of an order to the next.
type tries struct {
	UID   string `json:"uid"`
	Count int    `json:"count"`
}

// begin counts this run, if there is a place to count in, and returns how many there were with it.
func begin(s job.Spec) (int, error) {
	if s.StateDir == "" {
		return 0, nil
	}
	store := journal.In(s.StateDir, "tries.json")
	b, err := store.Load()
	if err != nil {
		return 0, inState(s, err)
	}
	var was tries
	// What cannot be read, and another order's, is no count.
	if err := json.Unmarshal(b, &was); err != nil || was.UID != s.UID || was.Count < 0 || was.Count > 1<<30 {
		was = tries{UID: s.UID}
	}
	was.Count++
	if b, err = json.Marshal(was); err == nil {
		err = store.Save(b)
	}
	if err != nil {
		return 0, inState(s, err)
	}
	return was.Count, nil
}

func inState(s job.Spec, err error) error {
	if err == nil {
		return nil
	}
	if !errors.Is(err, errdef.ErrLimit) {
		err = fmt.Errorf("stateDir: %w: %w", err, errdef.ErrUsage)
	}
	return &errdef.Error{Op: "note a try in", Name: s.StateDir, Err: err}
}
