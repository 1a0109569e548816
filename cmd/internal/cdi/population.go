package cdi

import (
	"encoding/json"
	"fmt"
	"time"
)

// Population is the value of AnnPopulation: what the population controller knows of one claim, for the DataVolume's status
// and for `cdictl explain`. It is written when something changes, and at most every two seconds for progress alone.
type Population struct {
	// State is the step of the state machine.
	State State `json:"state"`
	// Reason (CamelCase), Message and Hint (the next step, for people) say why it is there. Message is never empty.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	Hint    string `json:"hint,omitempty"`
	// Pod is the worker's name while there is one.
	Pod string `json:"pod,omitempty"`
	// NextTry is when the worker is started again, after a failure that may pass.
	NextTry *time.Time `json:"nextTry,omitempty"`
	// Bytes of the virtual disk, done and in all; Fetched as stored. Rate in bytes a second, Remaining in seconds or -1.
	Done      int64   `json:"done,omitempty"`
	Total     int64   `json:"total,omitempty"`
	Fetched   int64   `json:"fetched,omitempty"`
	Rate      float64 `json:"rate,omitempty"`
	Remaining float64 `json:"remaining,omitempty"`
	// Percent is 0 to 100, -1 while it is not known.
	Percent float64 `json:"percent"`
	// Format, VirtualSize and Digest of what was imported, once it is.
	Format      string `json:"format,omitempty"`
	VirtualSize int64  `json:"virtualSize,omitempty"`
	Digest      string `json:"digest,omitempty"`
}

// State is a step on a claim's way, in this order.
type State string

// The steps.
const (
	StateWaiting    State = "Waiting"            // for a source object, Secret, ConfigMap, class
	StateConsumer   State = "WaitingForConsumer" // WaitForFirstConsumer, and no pod has asked for the claim
	StateScheduled  State = "Scheduled"          // worker made, not running
	StateRunning    State = "Running"
	StateBackoff    State = "Backoff"    // failed, will be tried again at NextTry
	StateFailed     State = "Failed"     // for good
	StatePublishing State = "Publishing" // the volume moves to the claim
	StateDone       State = "Done"
)

// PopulationOf reads AnnPopulation of a claim's annotations; nil if it has none. Fields that are not known are passed
// over: the reader may be older than the writer.
func PopulationOf(annotations map[string]string) (*Population, error) {
	text := annotations[AnnPopulation]
	if text == "" {
		return nil, nil
	}
	p := new(Population)
	if err := json.Unmarshal([]byte(text), p); err != nil {
		return nil, fmt.Errorf("annotation %s: %w", AnnPopulation, err)
	}
	return p, nil
}
