// Package job is the contract between whoever orders the filling of a volume and the worker that does it: the order is a
// Spec, what is told on the way is Progress, and the end is a Result. All three are JSON with a version, read strictly:
// a field that the reader does not know is an error, never a wish that is silently dropped.
//
// A Spec holds no secret. It names files that do: in a pod they are mounted, on a laptop they are files.
package job

import "github.com/cdictl/cdictl/lib/progress"

// Version is what this package reads and writes.
const Version = "cdictl.dev/job/v1"

// Paths that a worker pod has. A Spec for a pod uses them; a Spec on a laptop names others.
const (
	SpecPath      = "/job/spec.json"        // of the Spec, from a Secret
	ServerDir     = "/job/tls"              // tls.crt, tls.key and ca.crt of the worker's /progress and /metrics
	SecretDir     = "/job/secret"           // the source's Secret: accessKeyId, secretKey
	CADir         = "/job/ca"               // the source's ConfigMap of certificates
	HeaderDir     = "/job/headers"          // N/: the Nth Secret of headers
	DataDir       = "/data"                 // the volume, mode Filesystem
	DiskPath      = "/data/disk.img"        // the disk on it
	DevicePath    = "/dev/cdi-block-volume" // the volume, mode Block
	StateDir      = "/state"                // a small emptyDir that outlives a container
	ResultPath    = "/dev/termination-log"
	MetricsPort   = 8443
	MaxResultSize = 4096 // of the termination message
)

// Spec orders one volume to be filled.
type Spec struct {
	Version string `json:"version"`
	// UID names the order in metrics and logs; in a cluster it is the UID of the claim.
	UID    string `json:"uid,omitempty"`
	Source Source `json:"source"`
	Target Target `json:"target"`
	// Checksum of the stored bytes, "alg:hex"; empty: none.
	Checksum    string `json:"checksum,omitempty"`
	Preallocate bool   `json:"preallocate,omitempty"`
	// StateDir is a folder that outlives the worker's process: there the tries of an order are counted, and there lies what
	// an interrupted import to a device is gone on with. Empty: neither. Of a file that lies beside it.
	StateDir string `json:"stateDir,omitempty"`
	// Scratch is a folder for the spool of an image that cannot be converted as it comes. Empty: beside the disk for a
	// file, none for a block device.
	Scratch string `json:"scratch,omitempty"`
}

// Source has exactly one member set.
type Source struct {
	HTTP  *HTTP  `json:"http,omitempty"`
	Blank *Blank `json:"blank,omitempty"`
}

// HTTP is an image behind http or https. Credentials are in files only.
type HTTP struct {
	URL string `json:"url"`
	// Headers are sent with every request: "Name: value".
	Headers []string `json:"headers,omitempty"`
	// SecretHeaderPaths are files, or folders of files, with one "Name: value" each.
	SecretHeaderPaths []string `json:"secretHeaderPaths,omitempty"`
	UsernamePath      string   `json:"usernamePath,omitempty"`
	PasswordPath      string   `json:"passwordPath,omitempty"`
	// CAPath is a PEM bundle or a folder of them, trusted beside the system's.
	CAPath   string `json:"caPath,omitempty"`
	Insecure bool   `json:"insecureSkipVerify,omitempty"`
	// Disk is the name or the number of the disk to take out of an archive (an OVA, a tar); empty: the only one.
	Disk string `json:"disk,omitempty"`
	// Proxy is the URL of a proxy; empty: none in a pod, the environment's on a laptop.
	Proxy string `json:"proxy,omitempty"`
}

// Blank is an empty disk.
type Blank struct{}

// Target has exactly one of File and Device.
type Target struct {
	File   string `json:"file,omitempty"`   // path of the disk to make
	Device string `json:"device,omitempty"` // path of the block device to fill
	// Size is what was asked for, in bytes: the claim's request. A file's disk is grown to the usable part of
	// min(Size, room on its filesystem), see Overhead; 0: the image's size. A device is as large as it is, and no image
	// may be larger.
	Size int64 `json:"size,omitempty"`
	// Overhead is the part of a filesystem that it keeps to itself, "0" to "1" with at most three decimals. Empty: 0.
	Overhead string `json:"overhead,omitempty"`
	// Replace overwrites what is there, such as what an earlier worker of the same order left: a file is removed before
	// the room is measured, of a device it does not matter what is recognised on it.
	Replace bool `json:"replace,omitempty"`
	// Mode (octal, "0660"), UID and GID are given to the file before it is visible. Nil and empty: as it comes. Where the
	// worker may not give a file away, the Result's Message says so.
	Mode string `json:"mode,omitempty"`
	UID  *int   `json:"uid,omitempty"`
	GID  *int   `json:"gid,omitempty"`
}

// Outcome is how a worker ended.
type Outcome string

// The outcomes.
const (
	Succeeded Outcome = "Succeeded"
	Retry     Outcome = "Retry"  // a new attempt may help
	Failed    Outcome = "Failed" // none will, until spec or source change
)

// Result is the end of an order: a pod's termination message, at most MaxResultSize bytes of JSON.
type Result struct {
	Version string  `json:"version"`
	Outcome Outcome `json:"outcome"`
	// Reason is that of errdef's table (DigestMismatch, SourceNotFound, …), "Completed" when it succeeded.
	Reason  string `json:"reason"`
	Message string `json:"message,omitempty"` // for people; no secrets
	Hint    string `json:"hint,omitempty"`    // the next step
	// ExitCode is that of errdef's table, whatever the worker's process exits with.
	ExitCode int    `json:"exitCode"`
	Format   string `json:"format,omitempty"`
	Codec    string `json:"codec,omitempty"` // over the format; empty: none
	Route    string `json:"route,omitempty"` // how the bytes travelled
	// VirtualSize is the disk's; after a failure the image's, if its header told.
	VirtualSize int64 `json:"virtualSize,omitempty"`
	// RequiredSize is what a claim would have to ask for, where the target was too small for the image.
	RequiredSize int64             `json:"requiredSize,omitempty"`
	StoredSize   int64             `json:"storedSize,omitempty"`
	Digest       string            `json:"digest,omitempty"`
	Fetched      int64             `json:"bytesFetched,omitempty"`
	Spooled      int64             `json:"bytesSpooled,omitempty"`
	HeldMax      int64             `json:"bytesHeldMax,omitempty"` // of a stream, waiting in memory for the tables that name them
	Passes       int               `json:"passes,omitempty"`       // over the stored bytes, if it took more than one
	Written      int64             `json:"bytesWritten,omitempty"`
	Kept         int64             `json:"bytesKept,omitempty"` // of the disk, which an earlier, interrupted run had made
	Seconds      float64           `json:"seconds,omitempty"`
	Tries        int               `json:"tries,omitempty"` // runs of this order with this one, as its StateDir counts them
	Preallocated bool              `json:"preallocated,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
}

// Progress is what a running worker answers on /progress.
type Progress struct {
	Version string `json:"version"`
	UID     string `json:"uid,omitempty"`
	progress.Snapshot
	// Rate is in virtual bytes a second over the last seconds; Remaining in seconds, -1 while it cannot be told.
	Rate      float64 `json:"rate"`
	Remaining float64 `json:"remaining"`
	// LastRetry is the cause of the newest repetition within the source, "" if there was none.
	LastRetry string `json:"lastRetry,omitempty"`
	Retries   int    `json:"retries,omitempty"`
}
