// Command digest tells what a disk holds, as one line of JSON: the SHA-256 of its first -size bytes, and the offset of
// the first byte after them that is not zero. For a file also its mode, owner, length and room.
//
//	digest -size 67108864 /data/disk.img
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"syscall"
)

// Report is the line.
type Report struct {
	SHA256    string `json:"sha256"`
	Length    int64  `json:"length"`
	Soiled    int64  `json:"soiled"` // -1: all zeros
	Mode      string `json:"mode"`
	Owner     string `json:"owner"` // UID:GID
	Allocated int64  `json:"allocated,omitempty"`
	Files     int    `json:"files,omitempty"` // in the disk's folder, when -folder is given
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("digest: ")
	size := flag.Int64("size", 0, "bytes at the start that are hashed")
	folder := flag.String("folder", "", "count the entries of this folder too, without lost+found")
	flag.Parse()
	if flag.NArg() != 1 {
		log.Fatal("one file or device is needed")
	}
	r, err := look(flag.Arg(0), *size)
	if err == nil && *folder != "" {
		r.Files, err = count(*folder)
	}
	if err != nil {
		log.Fatal(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		log.Fatal(err)
	}
}

func look(name string, size int64) (Report, error) {
	f, err := os.Open(name)
	if err != nil {
		return Report{}, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return Report{}, err
	}
	r := Report{Mode: fmt.Sprintf("%04o", fi.Mode().Perm()), Soiled: -1}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		r.Owner = fmt.Sprintf("%d:%d", st.Uid, st.Gid)
		if fi.Mode().IsRegular() {
			r.Allocated = st.Blocks * 512
		}
	}
	if r.Length, err = f.Seek(0, io.SeekEnd); err != nil {
		return r, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return r, err
	}
	h := sha256.New()
	if _, err := io.CopyN(h, f, size); err != nil {
		return r, fmt.Errorf("%s has %d bytes, not %d: %w", name, r.Length, size, err)
	}
	r.SHA256 = hex.EncodeToString(h.Sum(nil))
	r.Soiled, err = soiled(f, size)
	return r, err
}

// soiled finds the first byte that is not zero, reading from off to the end.
func soiled(r io.Reader, off int64) (int64, error) {
	buf, zeros := make([]byte, 1<<20), make([]byte, 1<<20)
	for {
		n, err := r.Read(buf)
		if !bytes.Equal(buf[:n], zeros[:n]) {
			return off + int64(len(buf[:n])-len(bytes.TrimLeft(buf[:n], "\x00"))), nil
		}
		off += int64(n)
		if errors.Is(err, io.EOF) {
			return -1, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

func count(folder string) (int, error) {
	entries, err := os.ReadDir(folder)
	n := 0
	for _, e := range entries {
		if e.Name() != "lost+found" {
			n++
		}
	}
	return n, err
}
