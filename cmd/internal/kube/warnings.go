package kube

import "sync"

// warnings passes each warning of the API server on once.
type warnings struct {
	tell func(string)

	mu   sync.Mutex
	seen map[string]bool
}

// HandleWarningHeader implements rest.WarningHandler. 299 is the one code that API servers use.
func (w *warnings) HandleWarningHeader(code int, _, text string) {
	if w.tell == nil || code != 299 || text == "" {
		return
	}
	w.mu.Lock()
	again := w.seen[text]
	w.seen[text] = true
	w.mu.Unlock()
	if !again {
		w.tell(text)
	}
}
