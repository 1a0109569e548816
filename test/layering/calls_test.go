package layering

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// forbidden are functions that only a command may call: a library that ends the process, or that takes its options from
// the environment, cannot be used by another program.
var forbidden = map[string][]string{
	"os": {"Exit", "Getenv", "LookupEnv", "Environ", "ExpandEnv", "Setenv"},
}

func TestCalls(t *testing.T) {
	dir := root(t)
	files := 0
	err := filepath.WalkDir(filepath.Join(dir, "lib"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if g := GroupOf(rel[:strings.LastIndexByte(rel, '/')]); g != nil && g.Testing {
			return nil
		}
		files++
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, bad := range callsIn(f) {
			t.Errorf("%s:%d uses os.%s: only commands may", rel, set.Position(bad.Pos()).Line, bad.Sel.Name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 30 {
		t.Errorf("only %d files were looked at", files)
	}
}

// callsIn returns the uses of forbidden functions, by whatever name their package is imported.
func callsIn(f *ast.File) []*ast.SelectorExpr {
	names := map[string][]string{}
	for _, imp := range f.Imports {
		path := strings.Trim(imp.Path.Value, `"`)
		name := path
		if imp.Name != nil {
			name = imp.Name.Name
		}
		if l := forbidden[path]; l != nil {
			names[name] = l
		}
	}
	var bad []*ast.SelectorExpr
	ast.Inspect(f, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok {
			for _, name := range names[x.Name] {
				if sel.Sel.Name == name {
					bad = append(bad, sel)
				}
			}
		}
		return true
	})
	return bad
}

func TestCallsAreFound(t *testing.T) {
	const src = `package p
import sys "os"
var f = sys.Getenv
func g() { sys.Exit(1) }
var os struct{ Exit int }
var x = os.Exit
`
	f, err := parser.ParseFile(token.NewFileSet(), "p.go", src, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := callsIn(f); len(got) != 2 {
		t.Errorf("found %d uses, want 2", len(got))
	}
}
