package podspec

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// shortName makes a name that may be too long for a host name one that is not: its beginning and a hash of all of it. Dots,
// which a claim's name may have, become dashes, so that the pod's host name is a label.
func shortName(name string) string {
	short := strings.ReplaceAll(name, ".", "-")
	if short == name && len(name) <= validation.DNS1123LabelMaxLength {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	tail := "-" + hex.EncodeToString(sum[:4])
	short = short[:min(len(short), validation.DNS1123LabelMaxLength-len(tail))]
	return strings.TrimRight(short, "-") + tail
}
