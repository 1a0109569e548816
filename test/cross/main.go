// Command cross checks the types of all packages for other systems. It compiles nothing, so it takes seconds where six
// builds take minutes; make cross does those.
//
//	go run ./test/cross darwin/arm64 windows/amd64
package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/tools/go/packages"
)

const module = "github.com/cdictl/cdictl/"

func main() {
	bad := false
	for _, system := range os.Args[1:] {
		start := time.Now()
		n, errs := check(system)
		for _, err := range errs {
			fmt.Fprintf(os.Stderr, "%s: %v\n", system, err)
		}
		bad = bad || len(errs) > 0 || n == 0
		fmt.Printf("%-15s %d packages, %d errors, %.1f s\n", system, n, len(errs), time.Since(start).Seconds())
	}
	if bad || len(os.Args) < 2 {
		os.Exit(1)
	}
}

// check returns how many packages of ours it looked at, tests too, and what is wrong with them or keeps them from being built.
func check(system string) (int, []error) {
	goos, goarch, _ := strings.Cut(system, "/")
	root, err := os.Getwd()
	if err != nil {
		return 0, []error{err}
	}
	all, err := packages.Load(&packages.Config{
		Mode:  packages.LoadAllSyntax | packages.NeedForTest,
		Env:   append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0"),
		Tests: true,
		ParseFile: func(fset *token.FileSet, name string, src []byte) (*ast.File, error) {
			return parse(fset, root, name, src)
		},
	}, "./lib/...", "./cmd/...", "./examples/...")
	if err != nil {
		return 0, []error{err}
	}
	var errs []error
	packages.Visit(all, nil, func(p *packages.Package) {
		for _, e := range p.Errors {
			// What is left of others' files does not use all that it imports.
			if e.Kind != packages.TypeError || strings.HasPrefix(p.PkgPath, module) && !strings.HasSuffix(p.PkgPath, ".test") {
				errs = append(errs, e)
			}
		}
	})
	return len(all), errs
}

// parse leaves out what the functions of others do.
func parse(fset *token.FileSet, root, name string, src []byte) (*ast.File, error) {
	f, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
	if f != nil && !strings.HasPrefix(name, root+string(filepath.Separator)) {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				fn.Body = nil
			}
		}
	}
	return f, err
}
