package kube

import (
	"fmt"
	"strings"
)

// An Object is JSON of the API.
type Object map[string]any

// At returns what is at the end of a path of keys; nil if there is nothing.
func (o Object) At(keys ...string) any {
	var at any = map[string]any(o)
	for _, k := range keys {
		switch m := at.(type) {
		case map[string]any:
			at = m[k]
		case Object:
			at = m[k]
		default:
			return nil
		}
	}
	return at
}

// Text is At as text; a number or truth is spelt out.
func (o Object) Text(keys ...string) string {
	switch v := o.At(keys...).(type) {
	case nil:
		return ""
	case string:
		return v
	default:
		return fmt.Sprint(v)
	}
}

// Int is At as a whole number.
func (o Object) Int(keys ...string) int64 {
	f, _ := o.At(keys...).(float64)
	return int64(f)
}

// Object is At as an object, never nil.
func (o Object) Object(keys ...string) Object {
	switch m := o.At(keys...).(type) {
	case map[string]any:
		return m
	case Object:
		return m
	}
	return Object{}
}

// Objects is At as a list of objects.
func (o Object) Objects(keys ...string) []Object {
	list, _ := o.At(keys...).([]any)
	objects := make([]Object, 0, len(list))
	for _, v := range list {
		if m, ok := v.(map[string]any); ok {
			objects = append(objects, m)
		}
	}
	return objects
}

// Name is the object's.
func (o Object) Name() string { return o.Text("metadata", "name") }

// Namespace is the object's.
func (o Object) Namespace() string { return o.Text("metadata", "namespace") }

// UID is the object's.
func (o Object) UID() string { return o.Text("metadata", "uid") }

// Annotation is one of the object's.
func (o Object) Annotation(key string) string { return o.Text("metadata", "annotations", key) }

// Set puts a value at the end of a path of keys, and makes what is missing on the way.
func (o Object) Set(value any, keys ...string) {
	at := map[string]any(o)
	for _, k := range keys[:len(keys)-1] {
		switch m := at[k].(type) {
		case map[string]any:
			at = m
		case Object:
			at = m
		default:
			made := map[string]any{}
			at[k] = made
			at = made
		}
	}
	at[keys[len(keys)-1]] = value
}

// Condition is the object's condition of a type, never nil.
func (o Object) Condition(kind string) Object {
	for _, c := range o.Objects("status", "conditions") {
		if c.Text("type") == kind {
			return c
		}
	}
	return Object{}
}

// resources are the kinds that the tests make; the value is the path's last part, with a slash before it if the kind
// has no namespace.
var resources = map[string]string{
	"v1 Namespace":                       "/namespaces",
	"v1 Pod":                             "pods",
	"v1 Secret":                          "secrets",
	"v1 ConfigMap":                       "configmaps",
	"v1 Service":                         "services",
	"v1 ResourceQuota":                   "resourcequotas",
	"v1 PersistentVolumeClaim":           "persistentvolumeclaims",
	"v1 PersistentVolume":                "/persistentvolumes",
	"apps/v1 Deployment":                 "deployments",
	"cdi.kubevirt.io/v1beta1 DataVolume": "datavolumes",
	"cdi.kubevirt.io/v1beta1 VolumeImportSource": "volumeimportsources",
	"cdi.kubevirt.io/v1beta1 CDIConfig":          "/cdiconfigs",
	"cdi.kubevirt.io/v1beta1 StorageProfile":     "/storageprofiles",
	"storage.k8s.io/v1 StorageClass":             "/storageclasses",
	"storage.k8s.io/v1 CSIDriver":                "/csidrivers",
	"coordination.k8s.io/v1 Lease":               "leases",
}

func collection(o Object) (string, error) {
	version, kind := o.Text("apiVersion"), o.Text("kind")
	resource, ok := resources[version+" "+kind]
	if !ok {
		return "", fmt.Errorf("no resource is known for %s %s", version, kind)
	}
	prefix := "/apis/" + version
	if version == "v1" {
		prefix = "/api/v1"
	}
	if strings.HasPrefix(resource, "/") {
		return prefix + resource, nil
	}
	if o.Namespace() == "" {
		return "", fmt.Errorf("%s %s has no namespace", kind, o.Name())
	}
	return prefix + "/namespaces/" + o.Namespace() + "/" + resource, nil
}

// Path is where the API has an object.
func Path(o Object) (string, error) {
	base, err := collection(o)
	return base + "/" + o.Name(), err
}
