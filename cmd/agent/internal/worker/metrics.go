package worker

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/cdictl/cdictl/lib/job"
)

// A metric is one line of the text format of Prometheus, with its heading.
type metric struct {
	name, kind, help string
	value            float64
}

// metricsOf are those of a job. The first is a name that dashboards and the alerts of the ecosystem know; it is a counter
// in percent there.
func metricsOf(p job.Progress) []metric {
	m := []metric{
		{"kubevirt_cdi_import_progress_total", "counter", "The import progress in percentage", max(p.Percent(), 0)},
		{"cdictl_worker_virtual_done_bytes", "gauge", "Bytes of the virtual disk that are done, zeros included.", float64(p.Virtual)},
		{"cdictl_worker_fetched_bytes_total", "counter", "Bytes of the source that were read, repeated ones included.", float64(p.Stored)},
		{"cdictl_worker_spooled_bytes_total", "counter", "Bytes that were copied beside the disk for want of random access.", float64(p.Spooled)},
		{"cdictl_worker_rate_bytes_per_second", "gauge", "Virtual bytes a second over the last seconds.", p.Rate},
		{"cdictl_worker_source_retries_total", "counter", "Tries within the source that failed and were repeated.", float64(p.Retries)},
	}
	if p.Total > 0 {
		m = append(m, metric{"cdictl_worker_virtual_bytes", "gauge", "Size of the virtual disk.", float64(p.Total)})
	}
	if p.StoredTotal > 0 {
		m = append(m, metric{"cdictl_worker_stored_bytes", "gauge", "Size of the image as it is stored.", float64(p.StoredTotal)})
	}
	return m
}

func (w *worker) metrics(out http.ResponseWriter, _ *http.Request) {
	p := w.meter.Progress(time.Now())
	var b strings.Builder
	uid := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(p.UID)
	for _, m := range metricsOf(p) {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n%s{ownerUID=\"%s\"} %g\n", m.name, m.help, m.name, m.kind, m.name, uid, m.value)
	}
	out.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = out.Write([]byte(b.String())) // an error is a client that has left
}
