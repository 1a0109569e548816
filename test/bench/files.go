//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// errEnough ends the walk.
var errEnough = errors.New("enough")

// realFiles copies files that a system has (programs, libraries, texts, sources) into a new tree until there are n
// bytes of them, and says from where.
func realFiles(tree string, n int64) (string, error) {
	folders := []string{"/usr/bin", "/usr/share", "/usr/lib"}
	if out, err := exec.Command("go", "env", "GOROOT").Output(); err == nil {
		folders = append(folders, strings.TrimSpace(string(out)))
	}
	// No more than 40 % from one folder, as long as the others have enough: a disk is a mixture.
	for _, share := range []int64{n * 2 / 5, n} {
		for _, folder := range folders {
			if err := copyFiles(folder, filepath.Join(tree, folder), &n, min(n, share)); err != nil {
				return "", err
			}
			if n <= 0 {
				return strings.Join(folders, ", "), nil
			}
		}
	}
	return "", fmt.Errorf("%q have %d MiB of files less than the images need", folders, n>>20)
}

// copyFiles copies up to share bytes of from's regular files that are not in to yet, and takes them off n.
func copyFiles(from, to string, n *int64, share int64) error {
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // what cannot be read is not missed
		}
		dst := filepath.Join(to, strings.TrimPrefix(path, from))
		if _, err := os.Lstat(dst); err == nil {
			return nil
		}
		copied, err := copyFile(path, dst)
		*n -= copied
		if share -= copied; err == nil && share <= 0 {
			return errEnough
		}
		return err
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

func copyFile(from, to string) (int64, error) {
	in, err := os.Open(from)
	if errors.Is(err, fs.ErrPermission) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return 0, err
	}
	out, err := os.Create(to)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(out, in)
	return n, errors.Join(err, out.Close())
}
