package job

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/cdictl/cdictl/lib/errdef"
)

// decode reads the one JSON object that b is into v. Beside what encoding/json refuses that is: more than limit bytes,
// text that is not UTF-8, another version, a field that v does not have under exactly this name, a field given twice, and
// anything behind the object. what names it in errors, which never repeat values: they may be secret.
func decode(b []byte, limit int, what string, v any) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("job %s: "+format+": %w", append(append([]any{what}, args...), errdef.ErrUsage)...)
	}
	switch {
	case len(b) > limit:
		return bad("%d bytes, at most %d are read", len(b), limit)
	case !utf8.Valid(b):
		return bad("the text is not UTF-8")
	}
	// The version first: of a newer one the other complaints would only mislead.
	var head struct {
		Version *string `json:"version"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return bad("%s", explain(err))
	}
	switch {
	case head.Version == nil:
		return bad("version is missing, it is %q", Version)
	case *head.Version != Version:
		return errdef.WithHint(bad("version %.60q is not known here, only %q", *head.Version, Version), "use the same release for all parts")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := walk(d, reflect.TypeOf(v).Elem(), ""); err != nil {
		return bad("%s", explain(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return bad("something follows the object")
	}
	if err := json.Unmarshal(b, v); err != nil {
		return bad("%s", explain(err))
	}
	return nil
}

// explain says what is wrong without the words of Go.
func explain(err error) string {
	var t *json.UnmarshalTypeError
	var s *json.SyntaxError
	switch {
	case errors.As(err, &t):
		return fmt.Sprintf("%s is a %s, which does not fit", t.Field, strings.Fields(t.Value + " ")[0])
	case errors.As(err, &s):
		return fmt.Sprintf("no valid JSON at byte %d", s.Offset)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "it ends too early"
	}
	return err.Error()
}

// walk goes over one JSON value that is to become a t. Its depth is bounded by that of t.
func walk(d *json.Decoder, t reflect.Type, path string) error {
	tok, err := d.Token()
	if err != nil {
		return err
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch tok {
	case json.Delim('{'):
		if err := object(d, t, path); err != nil {
			return err
		}
	case json.Delim('['):
		if t.Kind() != reflect.Slice {
			return fmt.Errorf("%s is a list, which does not fit", path)
		}
		for i := 0; d.More(); i++ {
			if err := walk(d, t.Elem(), fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	default:
		return nil // json.Unmarshal knows whether it fits
	}
	_, err = d.Token() // the end of it
	return err
}

func object(d *json.Decoder, t reflect.Type, path string) error {
	if t.Kind() != reflect.Struct && t.Kind() != reflect.Map {
		return fmt.Errorf("%s is an object, which does not fit", path)
	}
	seen := map[string]bool{}
	for d.More() {
		tok, err := d.Token()
		if err != nil {
			return err
		}
		name, _ := tok.(string)
		at := strings.TrimPrefix(path+"."+name, ".")
		if seen[name] {
			return fmt.Errorf("%.200q is given twice", at)
		}
		seen[name] = true
		var inner reflect.Type
		if t.Kind() == reflect.Map {
			inner = t.Elem()
		} else if inner = member(t, name); inner == nil {
			return fmt.Errorf("field %.200q is not known", at)
		}
		if err := walk(d, inner, at); err != nil {
			return err
		}
	}
	return nil
}

// member is the type of the field that has this name in JSON, nil if there is none.
func member(t reflect.Type, name string) reflect.Type {
	for _, f := range reflect.VisibleFields(t) {
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.Anonymous && f.IsExported() && tag == name && tag != "" {
			return f.Type
		}
	}
	return nil
}
