package apitest_test

import (
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cdictl/cdictl/cmd/internal/apitest"
)

func TestMain(m *testing.M) {
	apitest.Main(m, apitest.Options{Controllers: []string{"garbage-collector-controller"}})
}

func TestServer(t *testing.T) {
	e := apitest.Start(t)
	ns := e.Namespace(t)
	dv := &cdiv1.DataVolume{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "a"}}
	dv.Spec.Source = &cdiv1.DataVolumeSource{Blank: &cdiv1.DataVolumeBlankImage{}}
	dv.Spec.Storage = &cdiv1.StorageSpec{}
	if err := e.Client.Create(t.Context(), dv); err != nil {
		t.Fatal(err)
	}

	t.Run("somebody else", func(t *testing.T) {
		err := e.As(t, "mallory").Get(t.Context(), client.ObjectKeyFromObject(dv), &cdiv1.DataVolume{})
		if !apierrors.IsForbidden(err) {
			t.Errorf("mallory reads the DataVolume: %v", err)
		}
	})

	t.Run("garbage collection", func(t *testing.T) {
		owned := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "owned", OwnerReferences: []metav1.OwnerReference{
			*metav1.NewControllerRef(dv, cdiv1.SchemeGroupVersion.WithKind("DataVolume")),
		}}}
		if err := e.Client.Create(t.Context(), owned); err != nil {
			t.Fatal(err)
		}
		if err := e.Client.Delete(t.Context(), dv); err != nil {
			t.Fatal(err)
		}
		apitest.Within(t, time.Minute, func() error {
			err := e.Exists(t.Context(), ns, "owned", &corev1.ConfigMap{})
			if err == nil {
				return errors.New("the ConfigMap is still there")
			}
			return client.IgnoreNotFound(err)
		})
	})
}
