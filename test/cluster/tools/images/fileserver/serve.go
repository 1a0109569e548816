package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path"
	"strings"
	"sync"
	"time"
)

// A Rule says how requests for some paths are answered; the first that fits a request rules it. Without one a file is
// served well: with ranges, Last-Modified and a strong ETag.
type Rule struct {
	Path string `json:"path"`           // a pattern as of path.Match, such as /images/*; empty fits all
	Skip int    `json:"skip,omitempty"` // so many requests are let through first
	// Times is how many requests the rule rules; 0: all. It counts down, and the rule goes with the last.
	Times int `json:"times,omitempty"`

	Delay      string `json:"delay,omitempty"`      // before the answer, such as 1.5s
	Status     int    `json:"status,omitempty"`     // answer with this status and no file
	RetryAfter string `json:"retryAfter,omitempty"` // value of that header
	Location   string `json:"location,omitempty"`   // value of that header, for a Status of 3xx
	User       string `json:"user,omitempty"`       // 401 unless basic auth gives this user and Password
	Password   string `json:"password,omitempty"`
	Header     string `json:"header,omitempty"`   // 403 unless the request has this header, as Name: value
	NoRanges   bool   `json:"noRanges,omitempty"` // as if ranges had not been heard of
	ETag       string `json:"etag,omitempty"`     // instead of the strong one; none: without

	DropAfter  *int64 `json:"dropAfter,omitempty"`  // cut the connection after so many bytes of this body
	StallAfter *int64 `json:"stallAfter,omitempty"` // send no more after so many, until the client goes
	Rate       int64  `json:"rate,omitempty"`       // bytes per second of one body; 0: as fast as it goes
	FlipAt     *int64 `json:"flipAt,omitempty"`     // invert the byte at this offset of this body
}

func (r *Rule) check() error {
	if r == nil {
		return errors.New("a rule is null")
	}
	if _, err := path.Match(r.Path, ""); err != nil {
		return fmt.Errorf("path %q: %w", r.Path, err)
	}
	if r.Delay == "" {
		return nil
	}
	_, err := time.ParseDuration(r.Delay)
	return err
}

// A Count is what was asked for one path, and what was sent.
type Count struct {
	Requests int         `json:"requests"` // HEAD too
	Ranged   int         `json:"ranged"`   // with a Range header
	Bytes    int64       `json:"bytes"`    // of bodies
	Statuses map[int]int `json:"statuses"`
}

type server struct {
	root *os.Root

	mu     sync.Mutex
	rules  []*Rule
	counts map[string]*Count
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rule := s.begin(r)
	out := &body{ResponseWriter: w, server: s, request: r, rule: rule, began: time.Now()}
	if d, err := time.ParseDuration(rule.Delay); err == nil {
		select {
		case <-time.After(d):
		case <-r.Context().Done():
			return
		}
	}
	if rule.RetryAfter != "" {
		w.Header().Set("Retry-After", rule.RetryAfter)
	}
	if rule.Location != "" {
		w.Header().Set("Location", rule.Location)
	}
	user, password, _ := r.BasicAuth()
	name, value, _ := strings.Cut(rule.Header, ":")
	switch {
	case rule.Status != 0:
		out.WriteHeader(rule.Status)
	case rule.User != "" && (user != rule.User || password != rule.Password):
		w.Header().Set("WWW-Authenticate", `Basic realm="fileserver"`)
		out.WriteHeader(http.StatusUnauthorized)
	case name != "" && r.Header.Get(name) != strings.TrimSpace(value):
		out.WriteHeader(http.StatusForbidden)
	default:
		s.file(out, r, rule)
	}
}

func (s *server) file(out *body, r *http.Request, rule Rule) {
	name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
	f, err := s.root.Open(name)
	if err != nil {
		http.Error(out, "no such file", http.StatusNotFound)
		return
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		http.Error(out, "not a file", http.StatusNotFound)
		return
	}
	if rule.NoRanges {
		r.Header.Del("Range")
	}
	switch rule.ETag {
	case "none":
	case "":
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", name, fi.Size(), fi.ModTime().UnixNano()))
		out.Header().Set("ETag", fmt.Sprintf(`"%x"`, sum[:8]))
	default:
		out.Header().Set("ETag", rule.ETag)
	}
	out.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(out, r, name, fi.ModTime(), f)
}

// begin counts a request and finds its rule.
func (s *server) begin(r *http.Request) Rule {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.count(r)
	c.Requests++
	if r.Header.Get("Range") != "" {
		c.Ranged++
	}
	for i, rule := range s.rules {
		if ok, err := path.Match(rule.Path, r.URL.Path); rule.Path != "" && (err != nil || !ok) {
			continue
		}
		if rule.Skip > 0 {
			rule.Skip--
			break
		}
		found := *rule
		if rule.Times == 1 {
			s.rules = append(s.rules[:i:i], s.rules[i+1:]...)
		} else if rule.Times > 1 {
			rule.Times--
		}
		return found
	}
	return Rule{}
}

// count is called with s.mu held.
func (s *server) count(r *http.Request) *Count {
	c := s.counts[r.URL.Path]
	if c == nil {
		c = &Count{Statuses: map[int]int{}}
		s.counts[r.URL.Path] = c
	}
	return c
}
