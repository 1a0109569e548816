package importer

// SaveEach makes the import write in segments of this size, and note each n bytes how far it has come.
func (r *Request) SaveEach(n, segmentSize int64) { r.saveStep, r.segment = n, segmentSize }
