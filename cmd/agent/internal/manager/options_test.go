package manager

import "testing"

func TestOptions(t *testing.T) {
	o, err := Options{Namespace: "ns", WorkerImage: "i"}.defaults()
	if err != nil || o.Log == nil || o.QPS != DefaultQPS || o.Burst != DefaultBurst {
		t.Errorf("%+v, %v", o, err)
	}
	// client-go refuses the election otherwise, and a leader must give up before another takes over.
	if o.Lease <= o.Renew || o.Renew <= o.Retry*6/5 || o.Lease+o.Retry > 15e9 {
		t.Errorf("lease %v, renew %v, retry %v", o.Lease, o.Renew, o.Retry)
	}
	for _, o := range []Options{{Namespace: "ns"}, {WorkerImage: "i"}} {
		if _, err := o.defaults(); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}
