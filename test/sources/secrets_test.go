//go:build linux

package sources

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cdictl/cdictl/test/internal/proc"
	"github.com/cdictl/cdictl/test/internal/report"
)

// A secret is a credential, and the user's name that goes with it, if one does.
type secret struct{ user, text string }

// forms are what a secret looks like when somebody writes it down.
func (s secret) forms() []string {
	all := []string{s.text, url.QueryEscape(s.text), url.PathEscape(s.text), hex.EncodeToString([]byte(s.text))}
	for _, plain := range []string{s.text, s.user + ":" + s.text} {
		for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			all = append(all, strings.TrimRight(e.EncodeToString([]byte(plain)), "="))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// toSocket is a call by which bytes go to the network: the request itself, which has to carry what is asked for.
var toSocket = regexp.MustCompile(`^\d+ +(write|writev|sendto|sendmsg)\(\d+<(TCP|TCPv6|UNIX[^>]*|socket):`)

// A watched run is everything by which a process could have told something.
type watched struct {
	exit    int
	places  map[string][]byte // what was written there, by a name for it
	samples int               // of /proc
	calls   int               // that strace saw
	sockets int               // of them to the network
}

// watch runs c under strace, with its arguments and environment looked at from outside as well. Everything below dir is
// looked at after it.
func watch(t *testing.T, c proc.Command, dir string) watched {
	t.Helper()
	proc.Need(t, "strace")
	calls := filepath.Join(t.TempDir(), "calls")
	c.Args = append([]string{"strace", "-f", "--seccomp-bpf", "-v", "-yy", "-s", "4194304", "-e", "trace=execve,write,pwrite64,writev,sendto,sendmsg,openat", "-o", calls, "--"}, c.Args...)
	p, err := proc.Start(t.Context(), c)
	must(t, err)
	w := watched{places: map[string][]byte{}}
	seen := map[string]bool{}
	for running := true; running; {
		select {
		case <-p.Done():
			running = false
		case <-time.After(2 * time.Millisecond): // how often to look; a run that is missed each time is found below
		}
		kids, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", p.PID(), p.PID()))
		for _, kid := range strings.Fields(string(kids)) {
			for _, name := range []string{"cmdline", "environ"} {
				b, err := os.ReadFile("/proc/" + kid + "/" + name)
				if err == nil && len(b) > 0 && !seen[string(b)] {
					seen[string(b)] = true
					w.samples++
					w.places["/proc/PID/"+name] = append(w.places["/proc/PID/"+name], b...)
				}
			}
		}
	}
	r, err := p.Wait()
	must(t, err)
	w.exit = r.Exit
	w.places["stdout"], w.places["stderr"] = []byte(r.Stdout), []byte(r.Stderr)
	b, err := os.ReadFile(calls)
	must(t, err)
	for line := range bytes.Lines(b) {
		w.calls++
		if toSocket.Match(line) {
			w.sockets++
			continue
		}
		w.places["system calls"] = append(w.places["system calls"], line...)
	}
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		w.places["file "+strings.TrimPrefix(path, dir)] = b
		return err
	}))
	return w
}

// find says where secrets occur.
func (w watched) find(secrets []secret) (hits []string) {
	for _, s := range secrets {
		for _, form := range s.forms() {
			for place, b := range w.places {
				if bytes.Contains(b, []byte(form)) {
					hits = append(hits, fmt.Sprintf("%q in %s", form, place))
				}
			}
		}
	}
	slices.Sort(hits)
	return hits
}

// TestSecrets imports, and pushes, with every kind of credential, from a server that takes it and from one that answers with all that it
// was sent, and looks for the credential in everything that was written, but for the requests.
func TestSecrets(t *testing.T) {
	bin := proc.TestBinary(t)
	table := &report.Table{Title: "Credentials, searched in arguments, environment, calls, output, log, timeline and files",
		Header: []string{"credential", "run", "exit", "calls", "of them requests", "samples", "places", "hits"}}
	samples := 0
	for _, c := range credentials(t) {
		for _, run := range []string{"taken", "refused"} {
			t.Run(c.name+"/"+run, func(t *testing.T) {
				s := newStage(t, bin)
				o := c.taken
				if run == "refused" {
					o = c.refused
				}
				source, args := o(t)
				cmd := s.command(source, c.env, append(args, "--log-level", "debug", "--trace", filepath.Join(s.dir, "timeline"), "--retries", "1")...)
				if c.push != "" {
					cmd.Args = slices.Replace(cmd.Args, 1, 4, "push", c.push, source)
				}
				if c.stdin != "" {
					cmd.Stdin = strings.NewReader(c.stdin)
				}
				w := watch(t, cmd, s.dir)
				samples += w.samples
				hits := w.find(c.secrets)
				var err error
				switch {
				case len(hits) > 0:
					err = fmt.Errorf("%s", strings.Join(hits, "; "))
				case run == "taken" && w.exit != 0, run == "refused" && w.exit == 0:
					err = fmt.Errorf("exit %d: %s", w.exit, w.places["stderr"])
				case w.sockets == 0:
					err = fmt.Errorf("%d calls, and no request among them", w.calls)
				case len(w.places["stderr"]) == 0:
					err = fmt.Errorf("no log")
				}
				if err != nil {
					t.Error(err)
				}
				table.Count(c.name+", "+run, err)
				table.Row(c.name, run, fmt.Sprint(w.exit), fmt.Sprint(w.calls), fmt.Sprint(w.sockets), fmt.Sprint(w.samples), fmt.Sprint(len(w.places)), fmt.Sprint(len(hits)))
			})
		}
	}
	if samples == 0 {
		t.Error("no run was seen in /proc")
	}
	table.Print(os.Stdout)
}

// TestSecretsAreFound shows that the search finds what leaks, by each way that there is.
func TestSecretsAreFound(t *testing.T) {
	s := secret{"someone", "a/s3cr3t+that=leaks"}
	file := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(file, []byte(s.text), 0o600))
	for _, tt := range []struct {
		name, script, place string
		args, env           []string
	}{
		{"argument", "sleep 0.2; :", "/proc/PID/cmdline", []string{s.text}, nil},
		{"argument of another program", `/bin/true "$(cat "$F")"`, "system calls", nil, nil},
		{"environment", "sleep 0.2; :", "/proc/PID/environ", nil, []string{"PASSWORD=" + s.text}},
		{"stderr", `cat "$F" >&2`, "stderr", nil, nil},
		{"stdout, base64 with the user", `printf 'someone:%s' "$(cat "$F")" | base64`, "stdout", nil, nil},
		{"file", `cat "$F" >"$D/left"`, "file /left", nil, nil},
		{"file that is gone, escaped", `echo a%2Fs3cr3t%2Bthat%3Dleaks >"$D/left"; rm "$D/left"`, "system calls", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			w := watch(t, proc.Command{Args: append([]string{"/bin/sh", "-c", tt.script, "sh"}, tt.args...), Env: append(tt.env, "F="+file, "D="+dir)}, dir)
			hits := w.find([]secret{s})
			if !slices.ContainsFunc(hits, func(h string) bool { return strings.HasSuffix(h, " in "+tt.place) }) {
				t.Errorf("found %q, not in %s", hits, tt.place)
			}
		})
	}
	dir := t.TempDir()
	if hits := watch(t, proc.Command{Args: []string{"/bin/sh", "-c", `wc -c <"$F"`}, Env: []string{"F=" + file}}, dir).find([]secret{s}); len(hits) > 0 {
		t.Errorf("nothing leaks, and %q is found", hits)
	}
}
