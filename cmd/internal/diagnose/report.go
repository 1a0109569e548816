package diagnose

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// Verdict is how it stands, in one word.
type Verdict string

// The verdicts.
const (
	Done    Verdict = "Done"
	Working Verdict = "Working" // on its way, nobody need do anything
	Waiting Verdict = "Waiting" // nothing is wrong, and it goes on when somebody does what is usual
	Stuck   Verdict = "Stuck"   // something is wrong, and it goes on when that is mended
	Failed  Verdict = "Failed"  // for good: it does not go on
)

// Bad says that something is wrong.
func (v Verdict) Bad() bool { return v == Stuck || v == Failed }

// A Finding is what a rule found.
type Finding struct {
	// ID names the cause for programs, in CamelCase. It is errdef's reason where the worker gave one.
	ID      string  `json:"id"`
	Verdict Verdict `json:"verdict"`
	// Summary completes the sentence "dv/x …".
	Summary string `json:"summary"`
	// WaitsFor is a noun; "" if it waits for nothing.
	WaitsFor string `json:"waitsFor,omitempty"`
	// Since when it has been so; zero: since it was made.
	Since time.Time `json:"since,omitzero"`
	Cause string    `json:"cause,omitempty"`
	// Next are the steps to take, in order.
	Next []string `json:"next,omitempty"`
}

// A Link is one object of the chain.
type Link struct {
	Kind    string    `json:"kind"`
	Name    string    `json:"name"`
	State   string    `json:"state"`
	Created time.Time `json:"created,omitzero"`
	Detail  string    `json:"detail,omitempty"`
}

// A Happening is an event, told shortly.
type Happening struct {
	At      time.Time `json:"at"`
	Type    string    `json:"type"`
	Reason  string    `json:"reason"`
	Object  string    `json:"object"`
	Times   int32     `json:"times"`
	Message string    `json:"message"`
}

// Report is the whole answer. Its JSON names are stable.
type Report struct {
	Object    string    `json:"object"`
	Namespace string    `json:"namespace"`
	Time      time.Time `json:"time"`
	Finding
	// Notes are worth knowing and not the cause.
	Notes  []string    `json:"notes,omitempty"`
	Chain  []Link      `json:"chain"`
	Events []Happening `json:"events,omitempty"`
	Unread []Unread    `json:"unread,omitempty"`

	width int
}

// maxEvents are shown, the newest.
const maxEvents = 8

// Explain says what is the matter with o.
func Explain(o *Objects) Report {
	v := look(o)
	r := Report{Object: v.subject(), Namespace: o.Namespace, Time: o.Now.UTC(), Unread: o.Unread}
	for _, rule := range rules {
		if f := rule(v); f != nil {
			r.Finding = *f
			break
		}
	}
	if r.Since.IsZero() {
		r.Since = v.created()
	}
	r.Since = r.Since.UTC()
	r.Notes = notes(v, r.ID)
	r.Chain = chain(v)
	shown := o.Events[max(0, len(o.Events)-maxEvents):]
	for i := range shown {
		r.Events = append(r.Events, happening(&shown[i]))
	}
	return r
}

func happening(e *corev1.Event) Happening {
	return Happening{At: LastSeen(e).UTC(), Type: e.Type, Reason: e.Reason, Times: times(e), Message: oneLine(e.Message),
		Object: shortKind(e.InvolvedObject.Kind) + "/" + e.InvolvedObject.Name}
}

// Wrapped is the report with its prose broken at so many columns; 0: not broken.
func (r Report) Wrapped(columns int) Report { r.width = columns; return r }

// String is the report for people.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s.\n\n", r.Object, r.Summary)
	head := b.Len()
	r.field(&b, "waits for", r.WaitsFor)
	if r.Verdict != Done {
		r.field(&b, "since", fmt.Sprintf("%s (%s)", age(r.Time, r.Since), r.Since.Format("2006-01-02 15:04:05 UTC")))
	}
	r.field(&b, "cause", r.Cause)
	r.fields(&b, "next", r.Next)
	r.fields(&b, "note", r.Notes)
	if b.Len() > head {
		b.WriteByte('\n')
	}
	r.table(&b)
	if len(r.Unread) > 0 {
		b.WriteString("\nnot looked at:\n")
		for _, u := range r.Unread {
			fmt.Fprintf(&b, "  %s: %s\n", u.What, u.Why)
		}
	}
	return b.String()
}

// fields are several of one name, each on a line of its own.
func (r Report) fields(b *strings.Builder, name string, texts []string) {
	for i, text := range texts {
		if i > 0 {
			name = ""
		}
		if len(texts) > 1 {
			text = "- " + text
		}
		r.field(b, name, text)
	}
}

const fieldWidth = 12

func (r Report) field(b *strings.Builder, name, text string) {
	if text == "" {
		return
	}
	fmt.Fprintf(b, "  %-*s", fieldWidth-2, name)
	at, indent := fieldWidth, fieldWidth
	if strings.HasPrefix(text, "- ") {
		indent += 2
	}
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case r.width > 0 && at+1+n > r.width:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			at = indent
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += n
	}
	b.WriteByte('\n')
}

func (r Report) table(b *strings.Builder) {
	rows := [][]string{{"OBJECT", "STATE", "AGE", "DETAIL"}}
	for _, l := range r.Chain {
		when := "-"
		if !l.Created.IsZero() {
			when = age(r.Time, l.Created)
		}
		rows = append(rows, []string{shortKind(l.Kind) + "/" + l.Name, dash(l.State), when, l.Detail})
	}
	align(b, rows)
	if len(r.Events) == 0 {
		return
	}
	b.WriteByte('\n')
	rows = [][]string{{"EVENT", "AGO", "OBJECT", "MESSAGE"}}
	for _, e := range r.Events {
		reason := e.Reason
		if e.Times > 1 {
			reason += fmt.Sprintf(" ×%d", e.Times)
		}
		rows = append(rows, []string{reason, age(r.Time, e.At), e.Object, e.Message})
	}
	align(b, rows)
}

// align writes rows with their columns below each other. (A tabwriter loses the column where a row's last cell is empty.)
func align(b *strings.Builder, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		line := ""
		for i, cell := range row {
			line += cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+3)
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// age is a time span as kubectl writes it.
func age(now, then time.Time) string { return duration.HumanDuration(max(now.Sub(then), 0)) }

func shortKind(kind string) string {
	switch kind {
	case "DataVolume":
		return "dv"
	case "PersistentVolumeClaim":
		return "pvc"
	case "PersistentVolume":
		return "pv"
	}
	return strings.ToLower(kind)
}

// maxText of a message from elsewhere is shown.
const maxText = 300

// oneLine is text without line breaks and control characters, and not longer than is read.
func oneLine(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }), " ")
	if r := []rune(s); len(r) > maxText {
		return string(r[:maxText]) + "…"
	}
	return s
}
