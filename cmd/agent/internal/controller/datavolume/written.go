package datavolume

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// written remembers of each DataVolume the version that its status was last written over. A cache that still shows that
// version is behind, and to decide by it would only be a conflict, or an old status again.
type written struct {
	mu   sync.Mutex
	over map[types.NamespacedName]string
}

func (w *written) set(key types.NamespacedName, version string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over == nil {
		w.over = map[types.NamespacedName]string{}
	}
	w.over[key] = version
}

// stale says that this version was written over. Any other is newer, so it need not be remembered any more.
func (w *written) stale(key types.NamespacedName, version string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over[key] == version && version != "" {
		return true
	}
	delete(w.over, key)
	return false
}

func (w *written) forget(key types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.over, key)
}
