package storageprofile

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cdictl/cdictl/cmd/agent/internal/profile"
	"github.com/cdictl/cdictl/cmd/internal/apitest"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

func TestMain(m *testing.M) { apitest.Main(m, apitest.Options{}) }

func within(t *testing.T, check func() error) {
	t.Helper()
	apitest.Within(t, 20*time.Second, check)
}

// holds fails the test if ok is not true all of the time: long enough for a reconcile that should not happen.
func holds(t *testing.T, ok func() bool, what string) {
	t.Helper()
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if !ok() {
			t.Fatal(what)
		}
	}
}

func TestController(t *testing.T) {
	e := apitest.Start(t)
	e.StartManager(t, func(mgr ctrl.Manager) error { return Add(mgr, Options{}) })
	ctx := t.Context()

	get := func(name string) (*cdiv1.StorageProfile, error) {
		p := &cdiv1.StorageProfile{}
		return p, e.Client.Get(ctx, types.NamespacedName{Name: name}, p)
	}
	has := func(name string, sets ...cdiv1.ClaimPropertySet) func() error {
		return func() error {
			p, err := get(name)
			if err != nil {
				return err
			}
			if p.Status.Provisioner == nil {
				return errors.New("no status yet")
			}
			if d := cmp.Diff(sets, p.Status.ClaimPropertySets); d != "" {
				return fmt.Errorf("property sets (-want +got): %s", d)
			}
			return nil
		}
	}
	create := func(o client.Object) {
		t.Helper()
		if err := e.Client.Create(ctx, o); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Delete(t, o) })
	}
	rwoFile := set(corev1.PersistentVolumeFilesystem, corev1.ReadWriteOnce)
	rwxBlock := set(corev1.PersistentVolumeBlock, corev1.ReadWriteMany)

	t.Run("known", func(t *testing.T) {
		c := class("hyperdisk", "pd.csi.storage.gke.io")
		c.Parameters = map[string]string{"type": "hyperdisk-balanced"}
		create(c)
		traits, _ := profile.Of(c)
		within(t, has("hyperdisk", traits.Sets...))
		p, _ := get("hyperdisk")
		if p.Annotations[cdi.AnnMinimumSize] != "4Gi" || p.Labels[cdi.LabelApp] != cdi.App {
			t.Errorf("%v, %v", p.Annotations, p.Labels)
		}
		if c := p.Status.Conditions; len(c) != 1 || c[0].Status != corev1.ConditionTrue || c[0].LastTransitionTime.IsZero() {
			t.Errorf("conditions %+v", c)
		}
		version := p.ResourceVersion
		holds(t, func() bool { p, err := get("hyperdisk"); return err == nil && p.ResourceVersion == version }, "written again and again")

		// A minimum that somebody set stays; one that was taken away comes back.
		for value, want := range map[string]string{"8Gi": "8Gi", "": "4Gi"} {
			before := p.DeepCopy()
			p.Annotations[cdi.AnnMinimumSize] = value
			if value == "" {
				delete(p.Annotations, cdi.AnnMinimumSize)
			}
			if err := e.Client.Patch(ctx, p, client.MergeFrom(before)); err != nil {
				t.Fatal(err)
			}
			within(t, func() error {
				var err error
				if p, err = get("hyperdisk"); err == nil && p.Annotations[cdi.AnnMinimumSize] != want {
					err = fmt.Errorf("minimum %q, want %q", p.Annotations[cdi.AnnMinimumSize], want)
				}
				return err
			})
		}
	})

	t.Run("unknown, then told", func(t *testing.T) {
		create(class("loop", unknown))
		within(t, has("loop"))
		p, _ := get("loop")
		if c := p.Status.Conditions[0]; c.Status != corev1.ConditionFalse || c.Reason != string(profile.UnknownProvisioner) {
			t.Errorf("condition %+v", c)
		}
		before := p.DeepCopy()
		p.Spec.ClaimPropertySets = []cdiv1.ClaimPropertySet{rwxBlock, rwoFile}
		if err := e.Client.Patch(ctx, p, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
		within(t, has("loop", rwxBlock, rwoFile))
		before = p.DeepCopy()
		p.Spec.ClaimPropertySets = nil
		if err := e.Client.Patch(ctx, p, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
		within(t, has("loop"))
	})

	t.Run("deleted", func(t *testing.T) {
		create(class("again", "rbd.csi.ceph.com"))
		within(t, func() error { _, err := get("again"); return err })
		p, _ := get("again")
		uid := p.UID
		e.Delete(t, p)
		within(t, func() error {
			p, err := get("again")
			if err == nil && (p.UID == uid || len(p.Status.ClaimPropertySets) == 0) {
				err = errors.New("not made again yet")
			}
			return err
		})
	})

	t.Run("class deleted", func(t *testing.T) {
		c := class("gone", "rbd.csi.ceph.com")
		create(c)
		within(t, func() error { _, err := get("gone"); return err })
		e.Delete(t, c)
		within(t, func() error {
			if _, err := get("gone"); !apierrors.IsNotFound(err) {
				return fmt.Errorf("still there: %w", err)
			}
			return nil
		})
	})

	t.Run("class made again with another provisioner", func(t *testing.T) {
		c := class("changed", unknown)
		create(c)
		within(t, has("changed"))
		e.Delete(t, c)
		create(class("changed", "k8s.io/minikube-hostpath"))
		within(t, has("changed", rwoFile))
	})

	t.Run("volumes made by hand", func(t *testing.T) {
		create(class("local", profile.NoProvisioner))
		within(t, has("local"))
		pv := &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: "local-1"},
			Spec: corev1.PersistentVolumeSpec{
				StorageClassName: "local", AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Capacity:               corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
				PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/tmp/nowhere"}},
			},
		}
		create(pv)
		within(t, has("local", rwoFile))
	})

	t.Run("a profile of no class", func(t *testing.T) {
		create(&cdiv1.StorageProfile{ObjectMeta: metav1.ObjectMeta{Name: "stray"}})
		within(t, func() error {
			if _, err := get("stray"); !apierrors.IsNotFound(err) {
				return fmt.Errorf("still there: %w", err)
			}
			return nil
		})
	})

	t.Run("the API server refuses", func(t *testing.T) {
		p, err := get("hyperdisk-2")
		if !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
		p.Name = "hyperdisk-2"
		p.Spec.ClaimPropertySets = []cdiv1.ClaimPropertySet{set(corev1.PersistentVolumeBlock, "ReadWriteNever")}
		if err := e.Client.Create(context.WithoutCancel(ctx), p); !apierrors.IsInvalid(err) {
			t.Errorf("an access mode that is none: %v", err)
		}
	})
}
