package httpsource

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"sort"
	"strings"
	"unicode"
)

const (
	hidden       = "…"
	maxErrorBody = 1 << 10 // of an error's body that is read
	maxErrorText = 256     // of it that is shown, in runes
)

// display is u for people: no user info, and the names but not the values of its query, which may be a signature.
func display(u *url.URL) string {
	c := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	s := c.String()
	if u.RawQuery == "" {
		return printable(s)
	}
	var parts []string
	for part := range strings.SplitSeq(u.RawQuery, "&") {
		name, _, ok := strings.Cut(part, "=")
		if !ok {
			parts = append(parts, hidden) // without a name it is all value
			continue
		}
		parts = append(parts, name+"="+hidden)
	}
	return printable(s + "?" + strings.Join(parts, "&"))
}

// secretName reports whether a header's name says that its value is a credential.
func secretName(name string) bool {
	name = strings.ToLower(name)
	for _, s := range []string{"auth", "cookie", "token", "key", "secret", "password", "credential", "signature"} {
		if strings.Contains(name, s) {
			return true
		}
	}
	return false
}

// secrets collects strings that must not be shown.
type secrets map[string]bool

func (s secrets) add(values ...string) {
	for _, v := range values {
		if len(v) >= 3 { // shorter ones would only mangle the text
			s[v] = true
		}
	}
}

func (s secrets) addQuery(u *url.URL) {
	for part := range strings.SplitSeq(u.RawQuery, "&") {
		_, v, ok := strings.Cut(part, "=")
		if !ok {
			v = part
		}
		s.add(v)
		if d, err := url.QueryUnescape(v); err == nil {
			s.add(d)
		}
	}
}

// addHeader takes whole values and the longer words in them ("Bearer …", "a=…; b=…").
func (s secrets) addHeader(h http.Header) {
	for _, vs := range h {
		for _, v := range vs {
			s.addWords(v, 7) // not "Bearer"
		}
	}
}

// addWords takes v and the words in it that have at least n bytes.
func (s secrets) addWords(v string, n int) {
	s.add(v)
	for _, word := range strings.FieldsFunc(v, func(c rune) bool { return strings.ContainsRune(" ;,=", c) }) {
		if len(word) >= n {
			s.add(word)
		}
	}
}

func (s secrets) addBasic(user, pass string) {
	s.add(pass, base64.StdEncoding.EncodeToString([]byte(user+":"+pass)), url.PathEscape(pass), url.QueryEscape(pass))
}

// hide replaces every secret in text. Longer ones go first: one may be part of another.
func (s secrets) hide(text string) string {
	all := make([]string, 0, len(s))
	for v := range s {
		all = append(all, v)
	}
	sort.Slice(all, func(i, j int) bool { return len(all[i]) > len(all[j]) || len(all[i]) == len(all[j]) && all[i] < all[j] })
	for _, v := range all {
		text = strings.ReplaceAll(text, v, hidden)
	}
	return text
}

// printable makes one line without control characters of what a server said.
func printable(s string) string {
	s = strings.Map(func(c rune) rune {
		if unicode.IsSpace(c) {
			return ' '
		}
		if !unicode.IsPrint(c) {
			return -1
		}
		return c
	}, strings.ToValidUTF8(s, "?"))
	return strings.Join(strings.Fields(s), " ")
}

func clip(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n]) + hidden
}
