package testserver

import (
	"net/http"
	"time"
)

// stops returns where this body breaks or stalls; -1: nowhere.
func (f *File) stops(n int64) (drop, stall int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	drop, stall = -1, -1
	again := func(done *int, times int) bool {
		*done++
		return times == 0 || *done <= times
	}
	switch {
	case f.o.DropSeed != 0:
		if at := f.rng.Int64N(max(f.o.DropMax, 1)) + 1; at < n {
			drop = at
		}
	case f.o.DropAfter > 0 && f.o.DropAfter < n && again(&f.drops, f.o.DropTimes):
		drop = f.o.DropAfter
	case f.o.ShortBody > 0:
		drop = max(n-f.o.ShortBody, 0)
	}
	if f.o.StallAfter > 0 && f.o.StallAfter < n && again(&f.stalls, f.o.StallTimes) {
		stall = f.o.StallAfter
	}
	return drop, stall
}

// send writes the body up to where it breaks.
func (f *File) send(w http.ResponseWriter, r *http.Request, rec *Request, body []byte) {
	drop, stall := f.stops(int64(len(body)))
	end := int64(len(body))
	if drop >= 0 {
		end = drop
	}
	if stall >= 0 {
		end = min(end, stall)
	}
	rc := http.NewResponseController(w)
	step := int64(f.o.WriteSize)
	if step <= 0 {
		step = 32 << 10
	}
	for off := int64(0); off < end; {
		if off+step >= int64(len(body)) {
			f.end(rec)
		}
		n, err := w.Write(body[off:min(off+step, end)])
		off += int64(n)
		f.mu.Lock()
		f.sent += int64(n)
		rec.Sent += int64(n)
		f.mu.Unlock()
		if err != nil {
			return
		}
		if f.o.Pause > 0 {
			_ = rc.Flush()
			time.Sleep(f.o.Pause)
		}
	}
	switch {
	case stall >= 0 && stall == end:
		_ = rc.Flush()
		<-r.Context().Done()
	case drop >= 0:
		_ = rc.Flush()
		if f.o.ShortBody > 0 && f.o.NoContentLength {
			return // a body that ends cleanly, only too early
		}
		panic(http.ErrAbortHandler)
	}
}
