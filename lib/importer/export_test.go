package importer

import "testing"

// SaveEach makes imports write in segments of this size, and note each n bytes how far they have come, for the time of t.
func SaveEach(t *testing.T, n, segmentSize int64) {
	saveStep, segment = n, segmentSize
	t.Cleanup(func() { saveStep, segment = 0, 0 })
}
