package runner

import (
	"fmt"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/resize"
)

// tooSmall is errdef's reason for a target that has not room enough.
const tooSmall = "TargetTooSmall"

// hints are the next step by errdef's reasons, for somebody who made a DataVolume. Those of errdef are for somebody at a
// command line.
var hints = map[string]string{
	"ImportFailed":       "read the message and the worker's log; it is tried again by itself",
	"InvalidSpec":        "a DataVolume's source cannot be changed: delete it, correct it, and make it again",
	"SourceNotFound":     "check the URL in the DataVolume's source; the import goes on by itself when there is something",
	"SourceUnauthorized": "check the Secret that secretRef names (keys accessKeyId and secretKey), and secretExtraHeaders; the import goes on by itself when they are right",
	"InvalidImage":       "compare the file with its checksum, or convert it with the tool that made it (qemu-img convert -O qcow2), and make the DataVolume again",
	"DigestMismatch":     "compare the DataVolume's checksum with the publisher's, which is of the file as it is stored; then delete the DataVolume and make it again",
	tooSmall:             "make the claim larger: delete the DataVolume and make it again with more storage",
	"LimitExceeded":      "if the image is trusted, give the workers more memory (podResourceRequirements of the CDI), or convert the image to plain qcow2",
	"ScratchNeeded":      "serve the image by a server that answers ranges, or use a volume of mode Filesystem",
	"SourceChanged":      "the file was replaced while it was read; the import starts again by itself",
	"TargetBusy":         "another pod uses the volume: see who mounts the claim; the import goes on by itself when it is free",
	"TargetExists":       "the volume holds data that is not this import's: use an empty claim, or delete the data",
	"PolicyRefused":      "this is refused for safety: put the file where its URL leads to it directly",
	"SourceUnavailable":  "check that the server can be reached from the cluster (DNS, proxy, NetworkPolicy, certificate); it is tried again by itself",
	"DeadlineExceeded":   "it is tried again by itself; look at the server if this goes on",
	"Canceled":           "the worker was stopped; it goes on by itself if it is still wanted",
}

// hint is the next step after err. What the error itself advises is better where it is about the image, and not about a
// flag of a command line.
func (r *run) hint(err error, c errdef.Class, required int64) string {
	own := errdef.Hint(err)
	switch {
	case c.Reason == tooSmall && required > 0 && r.spec.Target.Device == "":
		return fmt.Sprintf("make the claim larger: it must ask for at least %s (spec.storage adds the filesystem's overhead by itself, spec.pvc does not)", resize.FormatSize(required))
	case c.Reason == tooSmall && required > 0:
		return fmt.Sprintf("make the claim larger: it must ask for at least %s", resize.FormatSize(required))
	case c.Reason == "InvalidImage" && own != c.Hint && own != "" && !strings.Contains(own, "--"):
		return own
	}
	return hints[c.Reason]
}
