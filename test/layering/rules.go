package layering

import (
	"slices"
	"strings"
)

// Module is the path of our module.
const Module = "github.com/cdictl/cdictl"

// A Group is a line of the house: packages of one group do not import each other, unless the group is in May itself.
type Group struct {
	Name string
	// Packages are paths below the module; "x/*" is every package one folder below x, "x/..." also x and all below.
	Packages []string
	// May names the groups that this one may import.
	May []string
	// Modules are the prefixes of other modules' packages that it may import. Anything of the standard library is free.
	Modules []string
	// Why is said when the rule is broken.
	Why string
	// Testing: only tests import it, so it may log and look at the environment.
	Testing bool
}

// codecs are what decodes compressed bytes.
var codecs = []string{"github.com/klauspost/compress/", "github.com/therootcompany/xz"}

// Rules are all groups; the first whose pattern matches a package is its group. A package of none is an error: whoever
// adds one says where it stands.
var Rules = []Group{
	{Name: "conformance", Packages: []string{"lib/source/sourcetest", "lib/sink/sinktest", "lib/format/formattest"},
		May: []string{"ground", "words", "ends", "test tools"},
		Why: "a conformance suite is for every implementation, so it knows none", Testing: true},
	{Name: "convert suite", Packages: []string{"lib/transfer/transfertest"},
		May: []string{"ground", "words", "ends", "movers", "conformance"},
		Why: "a suite for every Learner knows none, and brings each together with transfer.Convert", Testing: true},
	{Name: "test tools", Packages: []string{"lib/internal/testimage", "lib/internal/testimage/*", "lib/internal/testserver", "lib/internal/powerfail"},
		May: []string{"internal", "ground", "test tools", "operations"}, Modules: []string{"github.com/klauspost/compress/"}, // zstd clusters of qcow2
		Why: "what tests are made of does not depend on what they test", Testing: true},
	{Name: "format parts", Packages: []string{"lib/internal/bat", "lib/internal/blob", "lib/internal/span", "lib/internal/tables"},
		May: []string{"ground", "words", "format parts"},
		Why: "what formats share speaks of disks and knows none of them"},
	{Name: "operations", Packages: []string{"lib/internal/fsop"},
		Why: "the names of what is done to files, for those who do it and those who watch"},
	{Name: "internal", Packages: []string{"lib/internal/..."},
		May: []string{"ground", "operations"}, Modules: []string{"golang.org/x/sys/"},
		Why: "shared machinery stands below everything that shares it"},
	{Name: "ground", Packages: []string{"lib/errdef", "lib/progress", "lib/trace", "lib/retry"},
		Why: "everybody imports these, so they import nobody"},
	{Name: "words", Packages: []string{"lib/image", "lib/limits", "lib/verify"},
		May: []string{"ground"}, Modules: []string{"golang.org/x/time/rate"},
		Why: "the vocabulary says what a disk is, not how one is read"},
	{Name: "ends", Packages: []string{"lib/source", "lib/sink"},
		May: []string{"ground", "words"},
		Why: "the interfaces of both ends know none of those who implement them"},
	{Name: "urls", Packages: []string{"lib/source/byurl"},
		May: []string{"ground", "words", "ends", "sources", "volumes", "object stores", "sources of images"},
		Why: "mapping URLs to sources is all that it does"},
	{Name: "object stores", Packages: []string{"lib/source/s3source", "lib/source/gcssource"},
		May:     []string{"ground", "words", "ends", "internal", "sources"},
		Modules: []string{"github.com/aws/aws-sdk-go-v2/", "github.com/aws/smithy-go", "golang.org/x/oauth2"},
		Why:     "an object is a file behind http whose requests are signed: it stands on httpsource, and its cloud's credentials stay here"},
	{Name: "sources of images", Packages: []string{"lib/source/registrysource"},
		May: []string{"ground", "words", "ends", "internal", "sources", "codecs"}, Modules: []string{"github.com/containers/image/v5/"},
		Why: "a container disk lies in compressed layers behind http or in files: who reads it knows those, and no format"},
	{Name: "volumes", Packages: []string{"lib/source/pvcsource"},
		May: []string{"ground", "words", "ends", "internal", "sources"}, Modules: []string{"golang.org/x/sys/"},
		Why: "a volume's disk is a local file or device: it stands on filesource, and says where on the volume that is"},
	{Name: "sources", Packages: []string{"lib/source/*"},
		May: []string{"ground", "words", "ends", "internal"}, Modules: []string{"golang.org/x/sys/", "golang.org/x/net/"},
		Why: "a source carries bytes: it knows no format, no codec, and no other source"},
	{Name: "sinks", Packages: []string{"lib/sink/*"},
		May: []string{"ground", "words", "ends", "internal", "operations"}, Modules: []string{"golang.org/x/sys/"},
		Why: "a sink stores bytes: it knows neither where they come from nor another sink"},
	{Name: "formats", Packages: []string{"lib/format/*"},
		May: []string{"ground", "words", "internal", "format parts"}, Modules: codecs,
		Why: "a format is read through io.ReaderAt: it knows no source and no other format"},
	{Name: "format list", Packages: []string{"lib/format"},
		May: []string{"ground", "words", "internal", "formats"},
		Why: "the list of formats knows formats and nothing that fetches or moves bytes"},
	{Name: "codecs", Packages: []string{"lib/compress"},
		May: []string{"ground", "words", "internal"}, Modules: codecs,
		Why: "a codec is a reader over a reader"},
	{Name: "movers", Packages: []string{"lib/plan", "lib/transfer", "lib/resize", "lib/archive", "lib/content", "lib/extract"},
		May: []string{"ground", "words", "ends", "internal"}, Modules: []string{"golang.org/x/sync/", "golang.org/x/sys/"},
		Why: "planning, moving, sizing and looking stand beside each other and meet in the importer"},
	{Name: "importer", Packages: []string{"lib/importer"},
		May: []string{"ground", "words", "ends", "internal", "movers", "codecs", "format list", "formats"}, Modules: []string{"golang.org/x/sync/", "golang.org/x/sys/"},
		Why: "the importer takes a source.Source and a sink.Target and imports no implementation, so a library user links only those that he names"},
	{Name: "images", Packages: []string{"lib/containerdisk"},
		May:     []string{"ground", "words", "ends", "internal", "sources", "sources of images", "sinks", "importer", "format list", "codecs"},
		Modules: []string{"github.com/klauspost/compress/", "golang.org/x/sync/"},
		Why:     "a container disk is made by the importer and sent as registrysource reads it, so it stands above both, and knows no cluster and no command line"},
	{Name: "jobs", Packages: []string{"lib/job"},
		May: []string{"ground", "words", "movers"},
		Why: "a job is what two programs say to each other: whoever only speaks it links nothing that reads images"},
	{Name: "job runner", Packages: []string{"lib/job/runner"},
		May: []string{"jobs", "ground", "words", "ends", "internal", "sources", "volumes", "sinks", "movers", "importer"},
		Why: "the runner turns a job into a request, and leaves all work to the importer"},
	{Name: "commands", Packages: []string{"cmd/..."},
		May: []string{"commands", "jobs", "job runner", "ground", "words", "ends", "urls", "sources", "volumes", "object stores", "sources of images", "sinks", "formats", "format list", "codecs", "movers", "importer", "images"},
		Modules: []string{
			"github.com/spf13/", "github.com/schollz/progressbar/", "golang.org/x/", "k8s.io/", "sigs.k8s.io/", "kubevirt.io/",
			"github.com/go-logr/logr", "github.com/google/go-containerregistry/",
		},
		Why: "commands parse and call; test machinery does not go into the binary"},
	{Name: "examples", Packages: []string{"examples/..."},
		May: []string{"ground", "words", "ends", "urls", "sources", "volumes", "object stores", "sources of images", "sinks", "formats", "format list", "codecs", "movers", "importer", "images"},
		Why: "an example shows what a user can do with the public packages"},
	{Name: "tests", Packages: []string{"test/..."}, May: []string{"tests"},
		Modules: []string{"golang.org/x/sys/", "golang.org/x/tools/", "github.com/klauspost/compress/", "github.com/hanwen/go-fuse/"},
		Why:     "tests of the whole run the real binary and link none of it"},
}

// GroupOf returns the group of a package below the module, nil if it has none.
func GroupOf(pkg string) *Group {
	for i := range Rules {
		if slices.ContainsFunc(Rules[i].Packages, func(p string) bool { return matches(p, pkg) }) {
			return &Rules[i]
		}
	}
	return nil
}

func matches(pattern, pkg string) bool {
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		return pkg == base || strings.HasPrefix(pkg, base+"/")
	}
	if base, ok := strings.CutSuffix(pattern, "/*"); ok {
		rest, ok := strings.CutPrefix(pkg, base+"/")
		return ok && !strings.Contains(rest, "/")
	}
	return pattern == pkg
}

// Check returns what is wrong with from importing to; "" if nothing is. Both are full import paths.
func Check(from, to string) string {
	g := GroupOf(strings.TrimPrefix(from, Module+"/"))
	if g == nil {
		return from + " stands in no group: say in test/layering/rules.go where it belongs"
	}
	own, ours := strings.CutPrefix(to, Module+"/")
	switch {
	case !ours && !strings.Contains(strings.SplitN(to, "/", 2)[0], "."):
		global := slices.Contains([]string{"log", "log/slog", "flag", "expvar"}, to)
		if global && !g.Testing && strings.HasPrefix(from, Module+"/lib/") {
			return from + " imports " + to + ": lib does not log and has no global flags"
		}
		return "" // the standard library
	case !ours:
		if !slices.ContainsFunc(g.Modules, func(p string) bool { return to == p || strings.HasPrefix(to, p) }) {
			return from + " (" + g.Name + ") imports " + to + ": " + g.Why
		}
		return ""
	}
	target := GroupOf(own)
	if target == nil {
		return from + " imports " + to + ", which stands in no group"
	}
	if !slices.Contains(g.May, target.Name) {
		return from + " (" + g.Name + ") imports " + to + " (" + target.Name + "): " + g.Why
	}
	return ""
}
