package cdiconfig

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cdictl/cdictl/cmd/internal/apitest"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

func TestMain(m *testing.M) { apitest.Main(m, apitest.Options{}) }

func within(t *testing.T, check func() error) {
	t.Helper()
	apitest.Within(t, 20*time.Second, check)
}

func TestController(t *testing.T) {
	e := apitest.Start(t)
	ctx := t.Context()
	e.StartManager(t, func(mgr ctrl.Manager) error { return Add(mgr, Options{}) })
	get := func() (*cdiv1.CDIConfig, error) {
		c := &cdiv1.CDIConfig{}
		return c, e.Client.Get(ctx, types.NamespacedName{Name: cdi.ConfigName}, c)
	}
	// until the status says what it should.
	until := func(what string, ok func(*cdiv1.CDIConfig) bool) *cdiv1.CDIConfig {
		t.Helper()
		var c *cdiv1.CDIConfig
		within(t, func() (err error) {
			if c, err = get(); err == nil && !ok(c) {
				err = fmt.Errorf("%s: %+v", what, c.Status)
			}
			return err
		})
		return c
	}
	patch := func(change func(*cdiv1.CDIConfigSpec)) {
		t.Helper()
		c, err := get()
		if err != nil {
			t.Fatal(err)
		}
		before := c.DeepCopy()
		change(&c.Spec)
		if err := e.Client.Patch(ctx, c, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
	}

	// The cluster has neither a CDIConfig nor a class.
	c := until("made", func(c *cdiv1.CDIConfig) bool {
		return c.Status.FilesystemOverhead != nil && c.Status.FilesystemOverhead.Global == "0.06" && c.Status.DefaultPodResourceRequirements != nil
	})
	if !slices.Equal(c.Spec.FeatureGates, DefaultFeatureGates) || c.Labels[cdi.LabelManagedBy] != cdi.ManagedBy {
		t.Errorf("%+v", c)
	}

	class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Provisioner: "x"}
	if err := e.Client.Create(ctx, class); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Delete(t, class) })
	until("a new class", func(c *cdiv1.CDIConfig) bool { return c.Status.FilesystemOverhead.StorageClass["a"] == "0.06" })

	patch(func(s *cdiv1.CDIConfigSpec) {
		s.FilesystemOverhead = &cdiv1.FilesystemOverhead{Global: "0.1", StorageClass: map[string]cdiv1.Percent{"a": "0"}}
		s.ScratchSpaceStorageClass = ptr.To("a")
		s.Preallocation = ptr.To(true)
		s.UploadProxyURLOverride = ptr.To("https://up.example.com")
		s.FeatureGates = nil // turned off, and not turned on again behind one's back
	})
	c = until("a new spec", func(c *cdiv1.CDIConfig) bool {
		return c.Status.FilesystemOverhead.StorageClass["a"] == "0" && c.Status.FilesystemOverhead.Global == "0.1" &&
			c.Status.ScratchSpaceStorageClass == "a" && c.Status.Preallocation && ptr.Deref(c.Status.UploadProxyURL, "") == "https://up.example.com"
	})
	if len(c.Spec.FeatureGates) != 0 || Enabled(c, HonorWaitForFirstConsumer) {
		t.Errorf("feature gates %v", c.Spec.FeatureGates)
	}
	version := c.ResourceVersion
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if c, err := get(); err != nil || c.ResourceVersion != version {
			t.Fatalf("written again and again: %v", err)
		}
	}

	// What is cleared in the spec is cleared in the status, also in a merge patch.
	patch(func(s *cdiv1.CDIConfigSpec) { *s = cdiv1.CDIConfigSpec{} })
	until("an empty spec", func(c *cdiv1.CDIConfig) bool {
		return c.Status.FilesystemOverhead.StorageClass["a"] == "0.06" && c.Status.ScratchSpaceStorageClass == "" && !c.Status.Preallocation && c.Status.UploadProxyURL == nil
	})

	// Somebody else's hand in the status is undone.
	c, _ = get()
	before := c.DeepCopy()
	c.Status.FilesystemOverhead.StorageClass["a"] = "0.5"
	if err := e.Client.Patch(ctx, c, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	until("a status from elsewhere", func(c *cdiv1.CDIConfig) bool { return c.Status.FilesystemOverhead.StorageClass["a"] == "0.06" })

	uid := c.UID
	e.Delete(t, c)
	within(t, func() error {
		c, err := get()
		if err == nil && c.UID == uid {
			err = errors.New("not gone yet")
		}
		return err
	})
	until("made again", func(c *cdiv1.CDIConfig) bool { return Enabled(c, HonorWaitForFirstConsumer) })

	for _, bad := range []cdiv1.Percent{"1.5", "-0.1", "abc", "0.0001"} {
		c, _ := get()
		before := c.DeepCopy()
		c.Spec.FilesystemOverhead = &cdiv1.FilesystemOverhead{Global: bad}
		if err := e.Client.Patch(ctx, c, client.MergeFrom(before)); !apierrors.IsInvalid(err) {
			t.Errorf("overhead %q: %v", bad, err)
		}
	}
	other := &cdiv1.CDIConfig{ObjectMeta: metav1.ObjectMeta{Name: "other"}}
	if err := e.Client.Create(ctx, other); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Delete(t, other) })
	time.Sleep(500 * time.Millisecond)
	if err := e.Client.Get(ctx, client.ObjectKeyFromObject(other), other); err != nil || other.Status.FilesystemOverhead != nil {
		t.Errorf("one of another name is not ours: %v, %+v", err, other.Status)
	}
}
