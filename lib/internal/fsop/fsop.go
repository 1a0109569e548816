// Package fsop names the operations that decide what of a file outlives a power failure, so that a test can see each of
// them, hold it back or refuse it.
package fsop

// Kind of an operation.
type Kind uint8

// The kinds. What a file is given by the first four is durable after Sync, what a folder is by the next four after
// SyncFolder.
const (
	Write Kind = iota // Data at Off
	Zero              // N bytes at Off, which read as zeros then
	Truncate
	Sync
	Create // an empty file
	Rename // Path to To, over what is there
	Link   // Path as To, too
	Remove
	SyncFolder // of the folder Path lies in
)

// String returns the kind's name.
func (k Kind) String() string {
	return [...]string{"write", "zero", "truncate", "sync", "create", "rename", "link", "remove", "sync folder"}[k]
}

// An Op is one operation.
type Op struct {
	Kind     Kind
	Path, To string
	Off, N   int64 // N is the new size for Truncate
	Data     []byte
	// Fresh: Rename must not replace anything.
	Fresh bool
}

// A Tap is told of each operation and makes it by calling do, or does not. The error that it returns is the operation's.
// Several goroutines call it.
type Tap func(op Op, do func() error) error

// Do makes the operation. Nil just makes it.
func (t Tap) Do(op Op, do func() error) error {
	if t == nil {
		return do()
	}
	return t(op, do)
}
