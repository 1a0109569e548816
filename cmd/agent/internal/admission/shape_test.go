package admission_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"

	"github.com/cdictl/cdictl/cmd/internal/apitest"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// testTimeout is for what takes the API server a moment to notice.
const testTimeout = 30 * time.Second

// The status of a DataVolume is a resource of its own: who writes the one does not touch the other.
func TestStatus(t *testing.T) {
	e := apitest.Start(t)
	ns := e.Namespace(t)
	dv := blank(ns, "a")
	dv.Status.Phase = cdiv1.Succeeded
	if err := e.Client.Create(t.Context(), dv); err != nil {
		t.Fatal(err)
	}
	if dv.Status.Phase != "" {
		t.Errorf("created with phase %s", dv.Status.Phase)
	}
	dv.Status = cdiv1.DataVolumeStatus{Phase: cdiv1.ImportInProgress, Progress: "12.34%", RestartCount: 2, ClaimName: "a"}
	dv.Spec.PriorityClassName = "p"
	if err := e.Client.Status().Update(t.Context(), dv); err != nil {
		t.Fatal(err)
	}
	got := apitest.Get(t, e, ns, "a", &cdiv1.DataVolume{})
	if got.Status.Phase != cdiv1.ImportInProgress || got.Spec.PriorityClassName != "" {
		t.Errorf("after an update of the status: %+v", got)
	}
	got.Labels, got.Status = map[string]string{"a": "b"}, cdiv1.DataVolumeStatus{}
	if err := e.Client.Update(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	if got.Status.Phase != cdiv1.ImportInProgress {
		t.Error("an update of the object changed the status")
	}
}

// What kubectl shows of each kind.
func TestColumns(t *testing.T) {
	e := apitest.Start(t)
	ns := e.Namespace(t)
	dv := blank(ns, "a")
	if err := e.Client.Create(t.Context(), dv); err != nil {
		t.Fatal(err)
	}
	dv.Status = cdiv1.DataVolumeStatus{Phase: cdiv1.ImportInProgress, Progress: "12.34%", RestartCount: 2}
	if err := e.Client.Status().Update(t.Context(), dv); err != nil {
		t.Fatal(err)
	}
	columns := func(resource, namespace string) (names []string, cells [][]any) {
		t.Helper()
		config := rest.CopyConfig(e.Config)
		config.GroupVersion, config.APIPath = &cdiv1.SchemeGroupVersion, "/apis"
		config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
		c, err := rest.RESTClientFor(config)
		if err != nil {
			t.Fatal(err)
		}
		r := c.Get().Resource(resource).SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
		if namespace != "" {
			r = r.Namespace(namespace)
		}
		raw, err := r.Do(t.Context()).Raw()
		if err != nil {
			t.Fatal(err)
		}
		var table metav1.Table
		if err := json.Unmarshal(raw, &table); err != nil {
			t.Fatal(err)
		}
		for _, c := range table.ColumnDefinitions {
			names = append(names, c.Name)
		}
		for _, row := range table.Rows {
			cells = append(cells, row.Cells)
		}
		return names, cells
	}
	for resource, want := range map[string][]string{
		"datavolumes":     {"Name", "Phase", "Progress", "Restarts", "Age"},
		"dataimportcrons": {"Name", "Format"},
		"datasources":     {"Name", "Age"},
		"storageprofiles": {"Name", "Age"},
		"cdis":            {"Name", "Age", "Phase"},
		"objecttransfers": {"Name", "Age", "Phase"},
	} {
		if names, _ := columns(resource, ""); !cmp.Equal(want, names) {
			t.Errorf("%s: %s", resource, cmp.Diff(want, names))
		}
	}
	_, rows := columns("datavolumes", ns)
	if len(rows) != 1 || !cmp.Equal(rows[0][:4], []any{"a", "ImportInProgress", "12.34%", float64(2)}) {
		t.Errorf("rows %v", rows)
	}
}

// What clients find by asking: short names, the category all, status where it is a resource.
func TestDiscovery(t *testing.T) {
	e := apitest.Start(t)
	d, err := discovery.NewDiscoveryClientForConfig(e.Config)
	if err != nil {
		t.Fatal(err)
	}
	list, err := d.ServerResourcesForGroupVersion(cdi.Group + "/v1beta1")
	if err != nil {
		t.Fatal(err)
	}
	short, status, all := map[string]int{}, map[string]bool{}, map[string]bool{}
	for _, r := range list.APIResources {
		for _, s := range r.ShortNames {
			short[s]++
		}
		for _, c := range r.Categories {
			all[r.Name] = c == "all"
		}
		status[r.Name] = true
	}
	for _, s := range []string{"dv", "dvs", "dic", "dics", "das", "cdi", "cdis", "ot", "ots"} {
		if short[s] != 1 {
			t.Errorf("short name %s: %d resources", s, short[s])
		}
	}
	for _, r := range []string{"datavolumes", "dataimportcrons", "datasources"} {
		if !all[r] {
			t.Errorf("`kubectl get all` does not show %s", r)
		}
	}
	for r, want := range map[string]bool{
		"datavolumes/status": true, "storageprofiles/status": true, "objecttransfers/status": true,
		"dataimportcrons/status": false, "datasources/status": false, "cdiconfigs/status": false, "cdis/status": false,
	} {
		if status[r] != want {
			t.Errorf("%s: %v, want %v", r, status[r], want)
		}
	}
}
