package claim

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	"sigs.k8s.io/yaml"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/lib/resize"
)

const (
	rwo = corev1.ReadWriteOnce
	rwx = corev1.ReadWriteMany
	rox = corev1.ReadOnlyMany
	fs  = corev1.PersistentVolumeFilesystem
	blk = corev1.PersistentVolumeBlock
)

// dataVolume reads a DataVolume's spec; http is the source unless it names another.
func dataVolume(t *testing.T, spec string) *cdiv1.DataVolume {
	t.Helper()
	dv := &cdiv1.DataVolume{}
	if err := yaml.UnmarshalStrict([]byte(spec), &dv.Spec); err != nil {
		t.Fatal(err)
	}
	if dv.Spec.Source == nil && dv.Spec.SourceRef == nil {
		dv.Spec.Source = &cdiv1.DataVolumeSource{HTTP: &cdiv1.DataVolumeSourceHTTP{URL: "https://example.com/d.img"}}
	}
	return dv
}

func class(name string) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func set(mode corev1.PersistentVolumeMode, access ...corev1.PersistentVolumeAccessMode) cdiv1.ClaimPropertySet {
	return cdiv1.ClaimPropertySet{AccessModes: access, VolumeMode: &mode}
}

func profile(minimum string, sets ...cdiv1.ClaimPropertySet) *cdiv1.StorageProfile {
	p := &cdiv1.StorageProfile{ObjectMeta: metav1.ObjectMeta{Name: "fast"}, Status: cdiv1.StorageProfileStatus{ClaimPropertySets: sets}}
	if minimum != "" {
		p.Annotations = map[string]string{cdi.AnnMinimumSize: minimum}
	}
	return p
}

func config(global cdiv1.Percent, classes map[string]cdiv1.Percent) *cdiv1.CDIConfig {
	return &cdiv1.CDIConfig{Status: cdiv1.CDIConfigStatus{FilesystemOverhead: &cdiv1.FilesystemOverhead{Global: global, StorageClass: classes}}}
}

func TestModes(t *testing.T) {
	rbd := profile("", set(blk, rwx), set(blk, rwo), set(fs, rwo))
	for _, c := range []struct {
		name, spec string
		archive    bool
		class      *storagev1.StorageClass
		profile    *cdiv1.StorageProfile
		volumes    []corev1.PersistentVolume
		access     []corev1.PersistentVolumeAccessMode
		mode       corev1.PersistentVolumeMode // "": left to Kubernetes
		className  string
		err        string
	}{
		{name: "both missing: the first set", class: class("fast"), profile: rbd, access: modes(rwx), mode: blk, className: "fast"},
		{name: "access given: the first set that has it", spec: "accessModes: [ReadWriteOnce]", class: class("fast"), profile: rbd, access: modes(rwo), mode: blk, className: "fast"},
		{name: "mode given: the first set that has it", spec: "volumeMode: Filesystem", class: class("fast"), profile: rbd, access: modes(rwo), mode: fs, className: "fast"},
		{name: "both given", spec: "{volumeMode: Filesystem, accessModes: [ReadOnlyMany]}", class: class("fast"), profile: rbd, access: modes(rox), mode: fs, className: "fast"},
		{name: "access that no set has: the first mode", spec: "accessModes: [ReadOnlyMany]", class: class("fast"), profile: rbd, access: modes(rox), mode: blk, className: "fast"},
		{name: "mode that no set has: the first access", spec: "volumeMode: Filesystem", class: class("fast"), profile: profile("", set(blk, rwo)), access: modes(rwo), mode: fs, className: "fast"},
		{name: "several modes", spec: "accessModes: [ReadWriteOnce, ReadOnlyMany]", class: class("fast"), profile: profile("", set(blk, rwo), set(fs, rox, rwo)), access: modes(rwo, rox), mode: fs, className: "fast"},
		{name: "FromStorageProfile", spec: "{volumeMode: FromStorageProfile, accessModes: [ReadWriteMany]}", class: class("fast"), profile: rbd, access: modes(rwx), mode: blk, className: "fast"},
		{name: "empty class name is the default", spec: `storageClassName: ""`, class: class("fast"), profile: rbd, access: modes(rwx), mode: blk, className: "fast"},
		{name: "set without access modes", class: class("fast"), profile: profile("", set(blk), set(fs, rwo)), access: modes(rwo), mode: fs, className: "fast"},
		{name: "archive", archive: true, class: class("fast"), profile: rbd, access: modes(rwo), mode: fs, className: "fast"},
		{name: "archive on a block volume", archive: true, spec: "volumeMode: Block", class: class("fast"), profile: rbd, err: "ContentType Archive cannot have block volumeMode"},

		{name: "empty profile", class: class("fast"), profile: profile(""), err: "Spec is missing accessMode and volumeMode, cannot get access mode from StorageProfile fast"},
		{name: "no profile", class: class("fast"), err: "Spec is missing accessMode and volumeMode, cannot get access mode from StorageProfile fast"},
		{name: "empty profile, mode given", spec: "volumeMode: Block", class: class("fast"), profile: profile(""), err: "Spec is missing accessMode and cannot get access mode from StorageProfile fast"},
		{name: "empty profile, access given", spec: "accessModes: [ReadWriteOnce]", class: class("fast"), profile: profile(""), access: modes(rwo), className: "fast"},

		{name: "no class", err: "PVC spec is missing accessMode and no storageClass to choose profile"},
		{name: "no class, mode given", spec: "volumeMode: Block", err: "PVC spec is missing accessMode and no storageClass to choose profile"},
		{name: "no class, access given", spec: "accessModes: [ReadWriteOnce]", access: modes(rwo)},
		{name: "unknown class", spec: "storageClassName: nowhere", volumes: volumes("elsewhere", corev1.VolumeAvailable, fs, rwo), err: "PVC spec is missing accessMode and no storageClass to choose profile"},
		{name: "class of a volume", spec: "storageClassName: manual", volumes: volumes("manual", corev1.VolumeAvailable, blk, rwo, rwx), access: modes(rwo, rwx), mode: blk, className: "manual"},
		{name: "class of a volume, access given", spec: "{storageClassName: manual, accessModes: [ReadWriteMany]}", volumes: volumes("manual", corev1.VolumeAvailable, blk, rwo, rwx), access: modes(rwx), mode: blk, className: "manual"},
		{name: "class of a volume of the other mode", spec: "{storageClassName: manual, volumeMode: Filesystem}", volumes: volumes("manual", corev1.VolumeAvailable, blk, rwo), err: "PVC spec is missing accessMode and no storageClass to choose profile"},
		{name: "class of a bound volume", spec: "storageClassName: manual", volumes: volumes("manual", corev1.VolumeBound, fs, rwo), err: "PVC spec is missing accessMode and no storageClass to choose profile"},
		{name: "class of a volume without a class", volumes: volumes("", corev1.VolumeAvailable, fs, rwo), err: "PVC spec is missing accessMode and no storageClass to choose profile"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dv := dataVolume(t, `storage: {resources: {requests: {storage: 1Gi}}}`)
			if err := yaml.UnmarshalStrict([]byte(c.spec), dv.Spec.Storage); err != nil {
				t.Fatal(err)
			}
			if c.archive {
				dv.Spec.ContentType = cdiv1.DataVolumeArchive
			}
			before := dv.DeepCopy()
			got, err := Render(Input{DV: dv, Class: c.class, Profile: c.profile, Volumes: c.volumes})
			checkError(t, err, c.err)
			if d := cmp.Diff(before, dv); d != "" {
				t.Errorf("the DataVolume was changed: %s", d)
			}
			if c.err != "" || err != nil {
				return
			}
			if d := cmp.Diff(c.access, got.AccessModes); d != "" {
				t.Errorf("access modes (-want +got): %s", d)
			}
			if mode := ptr.Deref(got.VolumeMode, ""); mode != c.mode {
				t.Errorf("volume mode %q, want %q", mode, c.mode)
			}
			if name := ptr.Deref(got.StorageClassName, ""); name != c.className {
				t.Errorf("class %q, want %q", name, c.className)
			}
		})
	}
}

func TestSize(t *testing.T) {
	fsys, block := profile("", set(fs, rwo)), profile("", set(blk, rwo))
	for _, c := range []struct {
		name, size, source string
		profile            *cdiv1.StorageProfile
		config             *cdiv1.CDIConfig
		want, err          string // want "": no request
	}{
		{name: "filesystem gets the default overhead", size: "1Gi", profile: fsys, want: "1138166334"},
		{name: "filesystem gets the overhead for all", size: "1Gi", profile: fsys, config: config("0.1", nil), want: "1181116007"},
		{name: "filesystem gets its class's overhead", size: "1Gi", profile: fsys, config: config("0.1", map[string]cdiv1.Percent{"fast": "0.055", "slow": "0.5"}), want: "1132797625"},
		{name: "the class's overhead may be 0", size: "1Gi", profile: fsys, config: config("0.1", map[string]cdiv1.Percent{"fast": "0"}), want: "1Gi"},
		{name: "an overhead of 1 doubles", size: "1Gi", profile: fsys, config: config("1", nil), want: "2Gi"},
		{name: "another class's overhead is nothing to it", size: "1Gi", profile: fsys, config: config("0", map[string]cdiv1.Percent{"slow": "0.5"}), want: "1Gi"},
		{name: "rounded up to MiB before the overhead", size: "1073741825", profile: fsys, config: config("0.06", nil), want: "1139277824"},
		{name: "rounded up to MiB without overhead", size: "1500k", profile: fsys, config: config("0", nil), want: "2Mi"},
		{name: "block is taken as it is", size: "1Gi", profile: block, config: config("0.5", nil), want: "1Gi"},
		{name: "block is not even rounded", size: "1073741825", profile: block, want: "1073741825"},
		{name: "raised to the minimum, block", size: "1Gi", profile: profile("4Gi", set(blk, rwo)), want: "4Gi"},
		{name: "raised to the minimum, filesystem", size: "1Gi", profile: profile("4Gi", set(fs, rwo)), want: "4Gi"},
		{name: "the minimum is compared with the inflated size", size: "1Gi", profile: profile("1100Mi", set(fs, rwo)), want: "1100Mi"},
		{name: "above the minimum", size: "8Gi", profile: profile("4Gi", set(blk, rwo)), want: "8Gi"},
		{name: "a minimum that is none", size: "8Gi", profile: profile("large", set(blk, rwo)), err: "StorageProfile fast: annotation cdi.kubevirt.io/minimumSupportedPvcSize is not a quantity"},
		{name: "an overhead that is none", size: "1Gi", profile: fsys, config: config("some", nil), err: `CDIConfig config: filesystem overhead "some" is not a number`},
		{name: "one MiB", size: "1Mi", profile: block, want: "1Mi"},
		{name: "less than a MiB", size: "1048575", profile: block, err: "Storage size should be at least 1MiB"},
		{name: "zero", size: "0", profile: block, err: "Storage size can't be equal or less than zero"},
		{name: "negative", size: "-1Gi", profile: fsys, err: "Storage size can't be equal or less than zero"},
		{name: "beyond int64", size: "10E", profile: fsys, err: "Storage size 10E is too large"},
		{name: "beyond int64 with overhead", size: "8E", profile: fsys, config: config("0.5", nil), err: "Storage size 8000000000000000000: disk of"},
		{name: "missing", profile: fsys, err: "Storage size is missing"},
		{name: "missing for a blank disk", source: "source: {blank: {}}", profile: fsys, err: "Storage size is missing"},
		{name: "missing for a clone", source: "source: {pvc: {namespace: a, name: b}}", profile: fsys},
		{name: "missing for a snapshot", source: "source: {snapshot: {namespace: a, name: b}}", profile: fsys},
		{name: "missing for a sourceRef", source: "sourceRef: {kind: DataSource, name: b}", profile: fsys},
	} {
		t.Run(c.name, func(t *testing.T) {
			dv := dataVolume(t, "storage: {}\n"+c.source)
			if c.size != "" {
				dv.Spec.Storage.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(c.size)}
			}
			got, err := Render(Input{DV: dv, Class: class("fast"), Profile: c.profile, Config: c.config})
			checkError(t, err, c.err)
			if c.err != "" || err != nil {
				return
			}
			size, ok := got.Resources.Requests[corev1.ResourceStorage]
			if ok != (c.want != "") || ok && size.Cmp(resource.MustParse(c.want)) != 0 {
				t.Errorf("size %s (%t), want %q", size.String(), ok, c.want)
			}
		})
	}
}

// TestVerbatim: what the pvc form says goes to the API server as it stands, whatever profile and CDIConfig say.
func TestVerbatim(t *testing.T) {
	for _, spec := range []string{
		`{}`,
		`{accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}`,
		`{accessModes: [ReadWriteMany], volumeMode: Block, storageClassName: slow, resources: {requests: {storage: "1500k"}, limits: {storage: 2Gi}}}`,
		`{accessModes: [ReadWriteOnce], volumeName: pv1, selector: {matchLabels: {a: b}}, storageClassName: "", resources: {requests: {storage: 1}}, volumeAttributesClassName: gold}`,
		`{accessModes: [ReadWriteOnce], dataSourceRef: {apiGroup: g, kind: K, name: n}, resources: {requests: {storage: 1Gi}}}`,
	} {
		dv := dataVolume(t, "pvc: "+spec)
		in := Input{DV: dv, Class: class("fast"), Profile: profile("4Gi", set(fs, rwo)), Config: config("0.5", nil)}
		got, err := Render(in)
		if err != nil {
			t.Errorf("%s: %v", spec, err)
		}
		if d := cmp.Diff(dv.Spec.PVC, got); d != "" {
			t.Errorf("%s (-want +got): %s", spec, d)
		}
		if got == dv.Spec.PVC {
			t.Error("not a copy")
		}
	}
}

// TestLabelled: a label asks that the pvc form be completed as a claim of its own would be, unless that is turned off.
func TestLabelled(t *testing.T) {
	dv := dataVolume(t, `pvc: {accessModes: [ReadWriteOnce], volumeMode: FromStorageProfile, resources: {requests: {storage: 1Gi}}}`)
	dv.Labels = map[string]string{cdi.LabelApplyProfile: "true"}
	in := Input{DV: dv, Class: class("fast"), Profile: profile("", set(blk, rwx), set(fs, rwo)), Config: config("0", nil)}
	got, err := Render(in)
	want := &corev1.PersistentVolumeClaimSpec{
		AccessModes: modes(rwo), VolumeMode: ptr.To(fs), StorageClassName: ptr.To("fast"),
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
	}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v (-want +got): %s", err, d)
	}
	in.Config.Spec.WebhookPvcRendering = cdiv1.WebhookPvcRenderingDisabled
	if got, err := Render(in); err != nil || cmp.Diff(dv.Spec.PVC, got) != "" {
		t.Errorf("turned off: %v, %v", got, err)
	}
}

func TestStorageFields(t *testing.T) {
	dv := dataVolume(t, `
storage:
  selector: {matchLabels: {a: b}}
  volumeName: pv1
  dataSourceRef: {apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: s}
  resources: {requests: {storage: 1Gi}, limits: {storage: 3Gi}}`)
	got, err := Render(Input{DV: dv, Class: class("fast"), Profile: profile("", set(fs, rwo))})
	if err != nil {
		t.Fatal(err)
	}
	s := dv.Spec.Storage
	want := &corev1.PersistentVolumeClaimSpec{
		AccessModes: modes(rwo), VolumeMode: ptr.To(fs), StorageClassName: ptr.To("fast"),
		Selector: s.Selector, VolumeName: "pv1", DataSourceRef: s.DataSourceRef, Resources: s.Resources, // a snapshot's size is not inflated
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got): %s", d)
	}
}

func TestForms(t *testing.T) {
	for spec, want := range map[string]string{
		`{}`:                       "Missing Data volume PVC",
		`{pvc: {}, storage: {}}`:   "Duplicate storage definition, both target storage and target pvc defined",
		`{storage: {}}`:            "PVC spec is missing accessMode",
		`{pvc: {accessModes: []}}`: "",
	} {
		_, err := Render(Input{DV: dataVolume(t, spec)})
		checkError(t, err, want)
	}
}

func TestOverhead(t *testing.T) {
	for _, c := range []struct {
		config *cdiv1.CDIConfig
		want   resize.Overhead
	}{
		{nil, 60},
		{&cdiv1.CDIConfig{}, 60},
		{config("", nil), 60},
		{config("0.1", map[string]cdiv1.Percent{"slow": "0.5"}), 100},
		{config("0.1", map[string]cdiv1.Percent{"fast": "0.5"}), 500},
	} {
		if got, err := Overhead(c.config, "fast"); err != nil || got != c.want {
			t.Errorf("%v: %s, %v; want %s", c.config, got, err, c.want)
		}
	}
}

func TestClass(t *testing.T) {
	const virt, k8s, both = 1, 2, 3
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	mk := func(name string, defaults int, age time.Duration) storagev1.StorageClass {
		c := *class(name)
		c.CreationTimestamp = metav1.NewTime(at.Add(-age))
		c.Annotations = map[string]string{cdi.AnnDefaultClass: "false"}
		if defaults&virt != 0 {
			c.Annotations[cdi.AnnDefaultVirtClass] = "true"
		}
		if defaults&k8s != 0 {
			c.Annotations[cdi.AnnDefaultClass] = "true"
		}
		return c
	}
	classes := []storagev1.StorageClass{mk("none", 0, 0), mk("old-k8s", k8s, 9), mk("new-k8s", k8s, 1), mk("same-k8s", k8s, 1), mk("old-virt", virt, 8), mk("virt", virt, 3)}
	for _, c := range []struct {
		name, spec string
		classes    []storagev1.StorageClass
		want       string
	}{
		{"virt default, newest", `{storage: {}}`, classes, "virt"},
		{"kubevirt content", `{contentType: kubevirt, storage: {}}`, classes, "virt"},
		{"archive takes the default of Kubernetes, newest, first name", `{contentType: archive, storage: {}}`, classes, "new-k8s"},
		{"named", `{storage: {storageClassName: none}}`, classes, "none"},
		{"named, unknown", `{storage: {storageClassName: nowhere}}`, classes, ""},
		{"empty name is the default", `{storage: {storageClassName: ""}}`, classes, "virt"},
		{"no virt default", `{storage: {}}`, classes[:3], "new-k8s"},
		{"no default", `{storage: {}}`, classes[:1], ""},
		{"no classes", `{storage: {}}`, nil, ""},
		{"archive has no use for the virt default", `{contentType: archive, storage: {}}`, classes[4:], ""},
		{"pvc form: Kubernetes chooses", `{pvc: {}}`, classes, "new-k8s"},
		{"pvc form: none", `{pvc: {storageClassName: ""}}`, classes, ""},
		{"pvc form: named", `{pvc: {storageClassName: old-virt}}`, classes, "old-virt"},
		{"both", `{storage: {}}`, []storagev1.StorageClass{mk("a", k8s, 0), mk("b", both, 5)}, "b"},
	} {
		got := ""
		if cl := Class(dataVolume(t, c.spec), c.classes); cl != nil {
			got = cl.Name
		}
		if got != c.want {
			t.Errorf("%s: class %q, want %q", c.name, got, c.want)
		}
	}
}

func modes(m ...corev1.PersistentVolumeAccessMode) []corev1.PersistentVolumeAccessMode { return m }

func volumes(class string, phase corev1.PersistentVolumePhase, mode corev1.PersistentVolumeMode, access ...corev1.PersistentVolumeAccessMode) []corev1.PersistentVolume {
	return []corev1.PersistentVolume{{
		Spec:   corev1.PersistentVolumeSpec{StorageClassName: class, VolumeMode: &mode, AccessModes: access},
		Status: corev1.PersistentVolumeStatus{Phase: phase},
	}}
}

func checkError(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Error(err)
		}
		return
	}
	var e *Error
	if !errors.As(err, &e) || !strings.HasPrefix(e.Message, want) || e.Reason != ReasonNotValid || e.Hint == "" {
		t.Errorf("%#v; want %q with a reason and a hint", err, want)
	}
}
