//go:build linux

// Command bench runs cdictl and the peers that are installed over images of real files, in alternation, and prints
// time, memory and ratios as a Markdown table.
//
//	go run ./test/bench                  five rounds over a disk of 8 GiB with 1 GiB or more of files
//	go run ./test/bench -quick           one round over a small disk: does it work?
//	go run ./test/bench -only zlib       the cases whose name matches
//
// The images are kept under .cache/bench and made again when they are gone. Seconds are this machine's at this moment;
// the ratios, each taken within one round, are what can be compared.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/cdictl/cdictl/test/internal/proc"
)

type config struct {
	rounds  int
	quick   bool
	only    *regexp.Regexp
	dir     string
	out     string
	touch   int64
	maxWall float64
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == touchCommand {
		if err := touchMemory(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func flags() (config, error) {
	var c config
	only := flag.String("only", "", "run the cases whose name matches this regular expression")
	flag.IntVar(&c.rounds, "rounds", 5, "rounds of every case")
	flag.BoolVar(&c.quick, "quick", false, "a small disk and one round")
	flag.StringVar(&c.dir, "dir", "", "where images are kept and outputs written (default: .cache/bench of the work tree)")
	flag.StringVar(&c.out, "o", "", "write the table to this file too")
	flag.Int64Var(&c.touch, "touch", 3<<30, "bytes of memory to touch and release before each run; 0: none")
	flag.Float64Var(&c.maxWall, "max-wall", 0, "fail if the median wall ratio to qemu-img at its best is above this for a qcow2 file; 0: only tell")
	flag.Parse()
	if c.quick {
		c.rounds, c.touch = 1, min(c.touch, 512<<20)
	}
	root, err := proc.Root()
	if err != nil {
		return c, err
	}
	if c.dir == "" {
		c.dir = filepath.Join(root, ".cache", "bench")
	}
	c.only, err = regexp.Compile(*only)
	return c, err
}

func run(ctx context.Context) error {
	c, err := flags()
	if err != nil {
		return err
	}
	work := filepath.Join(c.dir, "work")
	if err := os.MkdirAll(work, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(work)
	bin, err := proc.Binary(work)
	if err != nil {
		return err
	}
	images, err := prepare(ctx, c)
	if err != nil {
		return err
	}
	server, err := serve(ctx, images.dir, work)
	if err != nil {
		return err
	}
	defer server.stop()

	var text strings.Builder
	to := io.MultiWriter(os.Stdout, &text)
	header(ctx, to, c, images, server)
	cases := contests(bin, images, server.url, filepath.Join(work, "out.raw"))
	if c.quick && c.only.String() == "" && len(cases) == 0 {
		return fmt.Errorf("no case to run")
	}
	var slow []string
	for _, cs := range cases {
		if !c.only.MatchString(cs.name) {
			continue
		}
		results, err := cs.play(ctx, c, images)
		if err != nil {
			return err
		}
		results.markdown(to)
		slow = append(slow, results.above(c.maxWall)...)
	}
	if c.out != "" {
		if err := os.WriteFile(c.out, []byte(text.String()), 0o644); err != nil {
			return err
		}
	}
	if len(slow) > 0 {
		return fmt.Errorf("slower than allowed: %s", strings.Join(slow, "; "))
	}
	return nil
}

func header(ctx context.Context, w io.Writer, c config, im *corpus, s *server) {
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		kernel = []byte("unknown")
	}
	version, err := proc.Tool(ctx, "qemu-img", "--version")
	if err != nil {
		version = err.Error()
	}
	version, _, _ = strings.Cut(version, "\n")
	fmt.Fprintf(w, "# cdictl beside its peers\n\n%s, %d cores, Linux %s, %s. Disk: %s.\n",
		time.Now().Format(time.DateOnly), runtime.NumCPU(), strings.TrimSpace(string(kernel)), version, im.about)
	fmt.Fprintf(w, "Rounds: %d, contestants in alternation, as min/median/max. Before each run the output is deleted, %d MiB of memory touched and released, the input read into the page cache. ",
		c.rounds, c.touch>>20)
	fmt.Fprintf(w, "Peak memory is the largest process's. Ratios are ours / theirs within a round: below 1 we take less. HTTP: %s.\n", s.about)
}
