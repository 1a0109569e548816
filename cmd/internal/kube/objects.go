package kube

import (
	"context"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// A Resource is a kind as the API server's paths and people name it.
type Resource struct {
	schema.GroupVersionResource
	Kind string
	// Short is how explain names an object: dv/x.
	Short string
	// Cluster: not in a namespace.
	Cluster bool
}

func resource(group, version, plural, kind, short string) Resource {
	return Resource{GroupVersionResource: schema.GroupVersionResource{Group: group, Version: version, Resource: plural}, Kind: kind, Short: short}
}

func (r Resource) inCluster() Resource { r.Cluster = true; return r }

// The resources that the command line looks at.
var (
	DataVolumes         = resource("cdi.kubevirt.io", "v1beta1", "datavolumes", "DataVolume", "dv")
	VolumeImportSources = resource("cdi.kubevirt.io", "v1beta1", "volumeimportsources", "VolumeImportSource", "volumeimportsource")
	StorageProfiles     = resource("cdi.kubevirt.io", "v1beta1", "storageprofiles", "StorageProfile", "storageprofile").inCluster()
	CDIs                = resource("cdi.kubevirt.io", "v1beta1", "cdis", "CDI", "cdi").inCluster()
	CDIConfigs          = resource("cdi.kubevirt.io", "v1beta1", "cdiconfigs", "CDIConfig", "cdiconfig").inCluster()
	Claims              = resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", "pvc")
	Volumes             = resource("", "v1", "persistentvolumes", "PersistentVolume", "pv").inCluster()
	Pods                = resource("", "v1", "pods", "Pod", "pod")
	Events              = resource("", "v1", "events", "Event", "event")
	Secrets             = resource("", "v1", "secrets", "Secret", "secret")
	ConfigMaps          = resource("", "v1", "configmaps", "ConfigMap", "configmap")
	Quotas              = resource("", "v1", "resourcequotas", "ResourceQuota", "quota")
	Nodes               = resource("", "v1", "nodes", "Node", "node").inCluster()
	StorageClasses      = resource("storage.k8s.io", "v1", "storageclasses", "StorageClass", "storageclass").inCluster()
	CSIDrivers          = resource("storage.k8s.io", "v1", "csidrivers", "CSIDriver", "csidriver").inCluster()
	CSINodes            = resource("storage.k8s.io", "v1", "csinodes", "CSINode", "csinode").inCluster()
	Deployments         = resource("apps", "v1", "deployments", "Deployment", "deployment")
	Leases              = resource("coordination.k8s.io", "v1", "leases", "Lease", "lease")
	APIServices         = resource("apiregistration.k8s.io", "v1", "apiservices", "APIService", "apiservice").inCluster()
	CRDs                = resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", "crd").inCluster()
)

func (c *Cluster) of(r Resource, namespace string) dynamic.ResourceInterface {
	if r.Cluster || namespace == "" {
		return c.dynamic.Resource(r.GroupVersionResource)
	}
	return c.dynamic.Resource(r.GroupVersionResource).Namespace(namespace)
}

// Get reads one object.
func Get[T any](ctx context.Context, c *Cluster, r Resource, namespace, name string) (*T, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	u, err := c.of(r, namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, c.wrap(ctx, "get", r, namespace, name, err)
	}
	return convert[T](r, u)
}

// List reads all objects of a namespace ("": of all) that the options select, and the version to watch from.
func List[T any](ctx context.Context, c *Cluster, r Resource, namespace string, o metav1.ListOptions) ([]T, string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var all []T
	for {
		list, err := c.of(r, namespace).List(ctx, o)
		if err != nil {
			return nil, "", c.wrap(ctx, "list", r, namespace, "", err)
		}
		for i := range list.Items {
			v, err := convert[T](r, &list.Items[i])
			if err != nil {
				return nil, "", err
			}
			all = append(all, *v)
		}
		if o.Continue = list.GetContinue(); o.Continue == "" {
			return all, list.GetResourceVersion(), nil
		}
	}
}

// Exists says whether there is such an object. Its content, which may be secret, does not travel.
func (c *Cluster) Exists(ctx context.Context, r Resource, namespace, name string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := c.metadata.Resource(r.GroupVersionResource).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err = c.wrap(ctx, "get", r, namespace, name, err); IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// Create makes an object; obj is a pointer to a typed one.
func Create[T any](ctx context.Context, c *Cluster, r Resource, namespace string, obj *T) (*T, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.Kind, err)
	}
	u := &unstructured.Unstructured{Object: m}
	u.SetGroupVersionKind(r.GroupVersion().WithKind(r.Kind))
	unstructured.RemoveNestedField(u.Object, "status")
	unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")
	u, err = c.of(r, namespace).Create(ctx, u, metav1.CreateOptions{FieldManager: "cdictl"})
	if err != nil {
		name := ""
		if o, ok := any(obj).(metav1.Object); ok {
			name = o.GetName()
		}
		return nil, c.wrap(ctx, "create", r, namespace, name, err)
	}
	return convert[T](r, u)
}

// Annotate sets annotations of an object and leaves the rest alone.
func (c *Cluster) Annotate(ctx context.Context, r Resource, namespace, name string, annotations map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}})
	if err != nil {
		return err
	}
	_, err = c.of(r, namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "cdictl"})
	return c.wrap(ctx, "patch", r, namespace, name, err)
}

func convert[T any](r Resource, u *unstructured.Unstructured) (*T, error) {
	v := new(T)
	if p, ok := any(v).(*unstructured.Unstructured); ok {
		*p = *u
		return v, nil
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, v); err != nil {
		return nil, fmt.Errorf("%s %s/%s: %w", r.Kind, u.GetNamespace(), u.GetName(), err)
	}
	return v, nil
}
