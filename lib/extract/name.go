package extract

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
)

// maxElement is NAME_MAX.
const maxElement = 255

// maxDepth bounds what one name of a few hundred bytes makes us do: each folder on the way is opened. Systems have 20.
const maxDepth = 256

// local is a name of an archive as a path beneath its top: "" for the top itself.
func local(what, name string) (string, error) {
	if strings.HasPrefix(name, "/") {
		return "", fmt.Errorf("tar: %s %.200q is absolute: %w", what, name, errdef.ErrRefused)
	}
	var parts []string
	for p := range strings.SplitSeq(name, "/") {
		switch {
		case p == "" || p == ".":
		case p == "..":
			return "", fmt.Errorf("tar: %s %.200q leads out of a folder: %w", what, name, errdef.ErrRefused)
		case len(p) > maxElement:
			return "", fmt.Errorf("tar: %s %.60q… has an element of %d bytes, above the limit of %d: %w", what, name, len(p), maxElement, errdef.ErrLimit)
		default:
			parts = append(parts, p)
		}
	}
	path := strings.Join(parts, "/")
	if path == "" {
		return "", nil
	}
	if len(parts) > maxDepth {
		return "", fmt.Errorf("tar: %s %.60q… is %d folders deep, above the limit of %d: %w", what, name, len(parts), maxDepth, errdef.ErrLimit)
	}
	// On Windows there are names of devices, and more than one letter between folders.
	if !filepath.IsLocal(path) || os.PathSeparator != '/' && strings.ContainsAny(path, `\:`) {
		return "", fmt.Errorf("tar: %s %.200q is no name on this system: %w", what, name, errdef.ErrRefused)
	}
	if strings.EqualFold(parts[0], Hidden) {
		return "", fmt.Errorf("tar: %s %.200q is where archives are extracted: %w", what, name, errdef.ErrRefused)
	}
	return path, nil
}

// split is a path's folder, "" for the top, and its last element.
func split(path string) (dir, base string) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}
