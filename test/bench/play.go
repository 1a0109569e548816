//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/cdictl/cdictl/test/internal/images"
	"github.com/cdictl/cdictl/test/internal/proc"
)

const touchCommand = "touch-memory"

// touchMemory writes to n bytes of memory and ends, which gives them back to the kernel but not to the host: the next
// page cache is then made of pages that exist. See header: without it the first writer pays for all.
func touchMemory(n string) error {
	size, err := strconv.Atoi(n)
	if err != nil {
		return err
	}
	b, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		return err
	}
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	return syscall.Munmap(b)
}

// play runs the rounds of a contest.
func (c *contest) play(ctx context.Context, cf config, im *corpus) (*results, error) {
	if err := c.withSum(); err != nil {
		return nil, err
	}
	res := &results{contest: c, runs: make([][]proc.Usage, len(c.contestants)), allocated: make([]int64, len(c.contestants))}
	for round := range cf.rounds {
		for k := range c.contestants {
			i := (k + round) % len(c.contestants) // nobody is always first
			if err := c.ready(ctx, cf.touch, cf.quick); err != nil {
				return nil, err
			}
			u, err := proc.Measure(ctx, c.contestants[i].args...)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", c.name, c.contestants[i].name, err)
			}
			if round == 0 {
				if res.allocated[i], err = c.verify(im.digest); err != nil {
					return nil, fmt.Errorf("%s: %s: %w", c.name, c.contestants[i].name, err)
				}
			}
			res.runs[i] = append(res.runs[i], u)
		}
	}
	return res, c.clean()
}

// ready brings the machine to the same state before each run.
func (c *contest) ready(ctx context.Context, touch int64, quick bool) error {
	if err := c.clean(); err != nil {
		return err
	}
	if !quick {
		syscall.Sync() // nobody writes back what another one left
	}
	if touch > 0 {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		if _, err := proc.Tool(ctx, self, touchCommand, fmt.Sprint(touch)); err != nil {
			return err
		}
	}
	f, err := os.Open(c.input)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f})
	return err
}

// clean removes the output and what a contestant keeps beside it.
func (c *contest) clean() error {
	left, err := filepath.Glob(c.out + "*")
	for _, p := range left {
		err = errors.Join(err, os.Remove(p))
	}
	return err
}

// verify compares the output with the disk and returns what it takes on the filesystem.
func (c *contest) verify(want string) (allocated int64, err error) {
	got, err := images.SHA256(c.out)
	if err != nil {
		return 0, err
	}
	if got != want {
		return 0, fmt.Errorf("wrong disk: digest %s, want %s", got, want)
	}
	st, err := os.Stat(c.out)
	if err != nil {
		return 0, err
	}
	return st.Sys().(*syscall.Stat_t).Blocks * 512, nil
}
