package containerdisk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/progress"
	"github.com/cdictl/cdictl/lib/retry"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/httpsource"
	"github.com/cdictl/cdictl/lib/source/registrysource"
)

// registry sends by the OCI Distribution Specification 1.1. A blob goes in one request; only after a break it goes on in another,
// from where the registry says that it is. Many parts are in the specification too, and several large registries take none.
type registry struct {
	repo  *registrysource.Repository
	to    *httpsource.Sender
	begun string // an upload that waits for its blob; "" for none
	track *progress.Tracker
	res   *Result
}

func openRegistry(ctx context.Context, d *registrysource.Destination, env source.Env, track *progress.Tracker, res *Result) (store, error) {
	repo, err := d.Repository(ctx, env)
	if err != nil {
		return nil, err
	}
	s, err := httpsource.New(repo.URL, repo.HTTP)
	if err != nil {
		return nil, err
	}
	to, err := s.Sender(ctx, env)
	if err != nil {
		return nil, err
	}
	return &registry{repo: repo, to: to, track: track, res: res}, nil
}

// ready begins an upload, which tells whether we may. It is taken for the first blob that is not there.
func (r *registry) ready(context.Context) error {
	n := r.to.Failures()
	for {
		err := r.begin()
		if err == nil {
			return nil
		}
		if err := r.to.Wait(n, 0, err); err != nil {
			return err
		}
	}
}

// farewell is how long a cancelled push waits for the registry to drop the upload, which else lies there for some days.
const farewell = time.Second

func (r *registry) close(ctx context.Context, _ bool) error {
	r.to.Close()
	if r.begun == "" {
		return nil
	}
	to, end, err := r.to.Outlive(ctx, farewell)
	if err != nil {
		return nil // nothing depends on it
	}
	defer end()
	// Distribution cancels an upload only by the URL that tells its length, which the broken request has changed.
	if a, err := to.Send(httpsource.Message{Method: http.MethodGet, URL: r.begun}); err == nil && a.URL != "" {
		r.begun = a.URL
	}
	_, _ = to.Send(httpsource.Message{Method: http.MethodDelete, URL: r.begun})
	return nil
}

// do makes a request, and others if it fails for a while.
func (r *registry) do(m httpsource.Message) (*httpsource.Reply, error) {
	n := r.to.Failures()
	for {
		a, err := r.to.Send(m)
		if err == nil {
			return a, nil
		}
		if err := r.to.Wait(n, 0, explain(err)); err != nil {
			return nil, err
		}
	}
}

func (r *registry) begin() error {
	a, err := r.to.Send(httpsource.Message{Method: http.MethodPost, URL: "blobs/uploads/"})
	if err != nil {
		return explain(err)
	}
	if a.URL == "" {
		return fmt.Errorf("the registry does not say where to send a blob: %w", errdef.ErrUnavailable)
	}
	r.begun = a.URL
	return nil
}

func (r *registry) has(_ context.Context, b blob) (bool, error) {
	n := r.to.Failures()
	for {
		there, err := r.head(b)
		if err == nil {
			return there, nil
		}
		if err := r.to.Wait(n, 0, err); err != nil {
			return false, err
		}
	}
}

// head asks once whether b is there.
func (r *registry) head(b blob) (bool, error) {
	a, err := r.to.Send(httpsource.Message{Method: http.MethodHead, URL: "blobs/" + b.digest})
	switch {
	case errors.Is(err, errdef.ErrNotFound):
		return false, nil
	case err != nil:
		return false, explain(err)
	}
	// A registry that has a part of it under its whole name would be a bad one, but it costs nothing to see.
	length := a.Header.Get("Content-Length")
	return length == "" || length == strconv.FormatInt(b.size, 10), nil
}

// put sends b, and goes on after breaks for as long as there is progress between them.
func (r *registry) put(_ context.Context, b blob) error {
	n := r.to.Failures()
	var at, best int64
	var shown atomic.Int64 // as progress
	disputes, anew := 0, false
	for {
		err := r.rest(b, at, &shown)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errdef.ErrDigestMismatch) && !anew:
			// Parts do not make a whole there, or it took a part for the whole. So all at once, and once more only.
			anew = true
			err = fmt.Errorf("%s: %w", err.Error(), errdef.ErrUnavailable)
		case errors.Is(err, errElsewhere):
			// What came before a break may still be on its way when it is asked. Later it is not.
			if disputes++; disputes > 3 {
				anew = true
			}
		}
		for err != nil { // it may have more than we know, so it is asked
			if err := r.to.Wait(n, at, err); err != nil {
				return err
			}
			var done bool
			if at, done, err = r.where(b, anew); done {
				return nil
			}
		}
		if at > best {
			best = at
			n.Progress()
		}
		r.track.AddVirtual(at - shown.Swap(at))
	}
}

// errElsewhere: the registry has another number of bytes than it has told.
var errElsewhere = fmt.Errorf("the registry wants another part of the upload: %w", errdef.ErrUnavailable)

// rest sends b from at on, and says that this was all.
func (r *registry) rest(b blob, at int64, shown *atomic.Int64) error {
	if r.begun == "" {
		if err := r.begin(); err != nil {
			return err
		}
	}
	if at < b.size {
		h := http.Header{"Content-Type": {"application/octet-stream"}}
		if at > 0 {
			h.Set("Content-Range", fmt.Sprintf("%d-%d", at, b.size-1))
		}
		before := shown.Load()
		a, err := r.to.Send(httpsource.Message{Method: http.MethodPatch, URL: r.begun, Header: h,
			Body: io.NewSectionReader(b.bytes, at, b.size-at), Length: b.size - at, Slow: true,
			Sent: func(n int64) {
				shown.Add(n)
				r.track.AddVirtual(n)
			}})
		r.res.Sent += shown.Load() - before
		if err != nil {
			return r.forget(err)
		}
		if a.URL != "" {
			r.begun = a.URL
		}
	}
	u, err := url.Parse(r.begun)
	if err != nil {
		return fmt.Errorf("where the registry wants the end of a blob is no URL: %w", errdef.ErrUnavailable)
	}
	q := "digest=" + url.QueryEscape(b.digest)
	if u.RawQuery != "" {
		q = u.RawQuery + "&" + q // what is there stays letter for letter: it may be signed
	}
	u.RawQuery = q
	a, err := r.to.Send(httpsource.Message{Method: http.MethodPut, URL: u.String(), Slow: true})
	if err != nil {
		return r.forget(err)
	}
	r.begun = ""
	return sameDigest(a.Header, b.what, b.digest)
}

// forget drops the upload if err says that the registry does not know it any more: they end after a while, and a conversion may take
// longer.
func (r *registry) forget(err error) error {
	var a *httpsource.Answer
	if errors.As(err, &a) && (a.Status == http.StatusNotFound || a.Status == http.StatusBadRequest && strings.Contains(err.Error(), "BLOB_UPLOAD_")) {
		r.begun = ""
		return fmt.Errorf("the registry does not know the upload any more: %w", errdef.ErrUnavailable)
	}
	return explain(err)
}

// where asks how much of b the registry has after a break, and whether it has even stored it: then its answer was what got lost. An
// upload that it does not know any more begins again.
func (r *registry) where(b blob, anew bool) (at int64, done bool, err error) {
	if there, err := r.head(b); err != nil || there {
		return 0, there, err
	}
	if anew {
		r.begun = ""
	}
	if r.begun == "" {
		return 0, false, nil
	}
	a, err := r.to.Send(httpsource.Message{Method: http.MethodGet, URL: r.begun})
	var no *httpsource.Answer
	switch {
	case errors.As(err, &no) && no.Status < 500 && no.Status != http.StatusTooManyRequests:
		r.begun = ""
		return 0, false, nil
	case err != nil:
		return 0, false, err
	}
	at, ok := received(a.Header)
	if !ok || at > b.size {
		r.begun = ""
		return 0, false, nil
	}
	if a.URL != "" {
		r.begun = a.URL
	}
	return at, false, nil
}

// received reads the Range of an answer: how many bytes the registry has. None are told as 0-0 by some, and left out by others; one
// byte looks like that too, and is sent again.
func received(h http.Header) (int64, bool) {
	first, last, ok := strings.Cut(strings.TrimPrefix(h.Get("Range"), "bytes="), "-")
	n, err := strconv.ParseInt(last, 10, 64)
	if !ok || err != nil || first != "0" || n < 0 || n > 1<<62 {
		return 0, false
	}
	if n == 0 {
		return 0, true
	}
	return n + 1, true
}

func (r *registry) get(_ context.Context, digest string, most int64) (*document, error) {
	m := httpsource.Message{Method: http.MethodGet, URL: "manifests/" + r.repo.Tag, Most: most,
		Header: http.Header{"Accept": {strings.Join([]string{kindIndex, kindManifest, kindDockerList, kindDockerManifest}, ", ")}}}
	if digest != "" {
		m.URL, m.Header = "blobs/"+digest, nil
	}
	a, err := r.do(m)
	switch {
	case errors.Is(err, errdef.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case digest != "" && digestOf(a.Body) != digest:
		return nil, fmt.Errorf("the registry's blob %s is another: %w", digest, errdef.ErrDigestMismatch)
	}
	kind, _, _ := strings.Cut(a.Header.Get("Content-Type"), ";")
	return &document{strings.TrimSpace(kind), a.Body}, nil
}

func (r *registry) set(_ context.Context, d document, tag bool) error {
	name := digestOf(d.text)
	if tag {
		name = r.repo.Tag
	}
	n := r.to.Failures()
	for {
		a, err := r.to.Send(httpsource.Message{Method: http.MethodPut, URL: "manifests/" + name, Header: http.Header{"Content-Type": {d.kind}},
			Body: strings.NewReader(string(d.text)), Length: int64(len(d.text)), Slow: true})
		if err == nil {
			return sameDigest(a.Header, "manifest", digestOf(d.text))
		}
		if err := r.to.Wait(n, 0, explain(err)); err != nil {
			return err
		}
	}
}

// sameDigest compares what the registry calls what it got with what was sent.
func sameDigest(h http.Header, what, digest string) error {
	if is := h.Get("Docker-Content-Digest"); is != "" && is != digest && strings.HasPrefix(is, "sha256:") {
		return retry.Permanent(fmt.Errorf("the registry stored another %s than was sent: %.80q in place of %s: %w", what, is, digest, errdef.ErrDigestMismatch))
	}
	return nil
}

// explain gives answers to what is sent their meaning.
func explain(err error) error {
	var a *httpsource.Answer
	if !errors.As(err, &a) {
		return err
	}
	switch a.Status {
	case http.StatusMethodNotAllowed:
		return refused(err, errdef.ErrRefused, "it may be read-only, or a mirror: push to the registry itself")
	case http.StatusRequestEntityTooLarge, http.StatusInsufficientStorage:
		return refused(err, errdef.ErrNoSpace, "the registry, or a proxy before it, takes no blob that large; compress it more (--compress zstd), or ask who runs it")
	case http.StatusBadRequest:
		if strings.Contains(err.Error(), "DIGEST_INVALID") {
			return refused(err, errdef.ErrDigestMismatch, "what arrived is not what was sent: the disk was changed meanwhile, or a proxy damages what it passes on")
		}
	case http.StatusRequestedRangeNotSatisfiable, http.StatusConflict:
		return errElsewhere
	}
	return err
}

// refused replaces the class of an answer by one that says more.
func refused(err, class error, hint string) error {
	text := strings.TrimSuffix(err.Error(), ": "+errdef.ErrUnavailable.Error())
	return retry.Permanent(errdef.WithHint(fmt.Errorf("%s: %w", text, class), hint))
}
