// Package gather fetches what package diagnose looks at: everything on the way of a DataVolume's data, and what stands by.
// What the user may not see is named as such, and ends nothing. Of Secrets only the existence is asked for.
package gather

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/cmd/internal/diagnose"
	"github.com/cdictl/cdictl/cmd/internal/kube"
)

// DataVolume fetches all about a DataVolume. Its error is that of the DataVolume itself.
func DataVolume(ctx context.Context, c *kube.Cluster, namespace, name string) (*diagnose.Objects, error) {
	dv, err := kube.Get[cdiv1.DataVolume](ctx, c, kube.DataVolumes, namespace, name)
	if err != nil {
		return nil, err
	}
	g := newGatherer(c, namespace, name)
	g.o.DataVolume = dv
	g.o.Claim, err = kube.Get[corev1.PersistentVolumeClaim](ctx, c, kube.Claims, namespace, name)
	g.note("pvc/"+name, err)
	return g.rest(ctx)
}

// Claim fetches all about a claim, and about the DataVolume that it belongs to if there is one.
func Claim(ctx context.Context, c *kube.Cluster, namespace, name string) (*diagnose.Objects, error) {
	claim, err := kube.Get[corev1.PersistentVolumeClaim](ctx, c, kube.Claims, namespace, name)
	if err != nil {
		return nil, err
	}
	g := newGatherer(c, namespace, name)
	g.o.Claim = claim
	if owner := metav1.GetControllerOf(claim); owner != nil && owner.Kind == "DataVolume" {
		g.o.DataVolume, err = kube.Get[cdiv1.DataVolume](ctx, c, kube.DataVolumes, namespace, owner.Name)
		g.note("dv/"+owner.Name, err)
	}
	return g.rest(ctx)
}

type gatherer struct {
	c  *kube.Cluster
	o  *diagnose.Objects
	mu sync.Mutex // guards o.Unread
}

func newGatherer(c *kube.Cluster, namespace, name string) *gatherer {
	return &gatherer{c: c, o: &diagnose.Objects{Now: time.Now(), Namespace: namespace, Name: name}}
}

// note keeps that something could not be looked at. That it is not there is an answer, and no error.
func (g *gatherer) note(what string, err error) {
	if err == nil || kube.IsNotFound(err) || kube.IsNoKind(err) {
		return
	}
	why := err.Error()
	if kube.IsForbidden(err) {
		why = "not allowed"
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.o.Unread = append(g.o.Unread, diagnose.Unread{What: what, Why: why})
}

// each runs the steps at the same time; they write to different fields.
func each(steps ...func()) {
	var wg sync.WaitGroup
	for _, step := range steps {
		wg.Go(step)
	}
	wg.Wait()
}

func (g *gatherer) rest(ctx context.Context) (*diagnose.Objects, error) {
	o := g.o
	var events []corev1.Event
	each(
		func() { g.primeAndVolume(ctx) },
		func() { g.pods(ctx) },
		func() { g.classes(ctx) },
		func() { g.importSource(ctx) },
		func() { g.references(ctx) },
		func() { events = list[corev1.Event](ctx, g, kube.Events, o.Namespace, "") },
		func() { o.Quotas = list[corev1.ResourceQuota](ctx, g, kube.Quotas, o.Namespace, "") },
		func() { o.Nodes = list[corev1.Node](ctx, g, kube.Nodes, "", "") },
		func() { o.CSINodes = list[storagev1.CSINode](ctx, g, kube.CSINodes, "", "") },
		func() { g.agent(ctx) },
	)
	g.about(events)
	slices.SortFunc(o.Unread, func(a, b diagnose.Unread) int { return strings.Compare(a.What, b.What) })
	return o, ctx.Err()
}

func list[T any](ctx context.Context, g *gatherer, r kube.Resource, namespace, labels string) []T {
	all, _, err := kube.List[T](ctx, g.c, r, namespace, metav1.ListOptions{LabelSelector: labels})
	g.note(r.Short, err)
	return all
}

func get[T any](ctx context.Context, g *gatherer, r kube.Resource, namespace, name string) *T {
	v, err := kube.Get[T](ctx, g.c, r, namespace, name)
	g.note(r.Short+"/"+name, err)
	return v
}

func (g *gatherer) primeAndVolume(ctx context.Context) {
	o := g.o
	if o.Claim == nil {
		return
	}
	o.Prime = get[corev1.PersistentVolumeClaim](ctx, g, kube.Claims, o.Namespace, cdi.PrimeName(o.Claim.UID))
	for _, c := range []*corev1.PersistentVolumeClaim{o.Claim, o.Prime} {
		if c != nil && c.Spec.VolumeName != "" {
			o.Volume = get[corev1.PersistentVolume](ctx, g, kube.Volumes, "", c.Spec.VolumeName)
			return
		}
	}
}

// pods finds the worker and other users of the claim.
func (g *gatherer) pods(ctx context.Context) {
	o := g.o
	if o.Claim == nil {
		return
	}
	prime := cdi.PrimeName(o.Claim.UID)
	for _, p := range list[corev1.Pod](ctx, g, kube.Pods, o.Namespace, "") {
		switch {
		case p.Labels[cdi.LabelComponent] != "" && (mounts(&p, prime) || mounts(&p, o.Name)):
			if o.Worker == nil || p.CreationTimestamp.After(o.Worker.CreationTimestamp.Time) {
				o.Worker = &p
			}
		case mounts(&p, o.Name) && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed:
			o.Users = append(o.Users, p)
		}
	}
}

func mounts(p *corev1.Pod, claim string) bool {
	return slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool {
		return v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == claim
	})
}

func (g *gatherer) importSource(ctx context.Context) {
	o := g.o
	name := ""
	if o.Claim != nil && o.Claim.Spec.DataSourceRef != nil && o.Claim.Spec.DataSourceRef.Kind == "VolumeImportSource" {
		name = o.Claim.Spec.DataSourceRef.Name
	}
	if name != "" {
		o.ImportSource = get[cdiv1.VolumeImportSource](ctx, g, kube.VolumeImportSources, o.Namespace, name)
	}
}

// references looks whether the Secrets and ConfigMaps are there that the source names. A VolumeImportSource that somebody
// made by hand is looked at by importSource at the same time, so it is read here once more.
func (g *gatherer) references(ctx context.Context) {
	// Other steps write to the fields of g.o that are not here.
	o := diagnose.Objects{Namespace: g.o.Namespace, DataVolume: g.o.DataVolume, Claim: g.o.Claim}
	if o.DataVolume == nil && o.Claim != nil && o.Claim.Spec.DataSourceRef != nil {
		o.ImportSource, _ = kube.Get[cdiv1.VolumeImportSource](ctx, g.c, kube.VolumeImportSources, o.Namespace, o.Claim.Spec.DataSourceRef.Name)
	}
	for _, r := range o.References() {
		resource := kube.Secrets
		if r.Kind == "ConfigMap" {
			resource = kube.ConfigMaps
		}
		there, err := g.c.Exists(ctx, resource, o.Namespace, r.Name)
		g.note(resource.Short+"/"+r.Name, err)
		if err == nil && !there {
			g.o.Absent = append(g.o.Absent, r)
		}
	}
}

// about keeps the events of the objects that are on the way, oldest first.
func (g *gatherer) about(events []corev1.Event) {
	o := g.o
	mine := map[string]bool{"DataVolume/" + o.Name: o.DataVolume != nil, "PersistentVolumeClaim/" + o.Name: true}
	if o.Claim != nil {
		mine["PersistentVolumeClaim/"+cdi.PrimeName(o.Claim.UID)] = true
	}
	if o.Worker != nil {
		mine["Pod/"+o.Worker.Name] = true
	}
	var began time.Time
	if o.DataVolume != nil {
		began = o.DataVolume.CreationTimestamp.Time
	} else if o.Claim != nil {
		began = o.Claim.CreationTimestamp.Time
	}
	for _, e := range events {
		// Events outlive their objects: those of an earlier DataVolume of the name say nothing about this one.
		if mine[e.InvolvedObject.Kind+"/"+e.InvolvedObject.Name] && !diagnose.LastSeen(&e).Before(began) {
			o.Events = append(o.Events, e)
		}
	}
	slices.SortStableFunc(o.Events, func(a, b corev1.Event) int { return diagnose.LastSeen(&a).Compare(diagnose.LastSeen(&b)) })
}
