package diagnose

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// chain lists the objects on the way of the data, and how each of them is.
func chain(v *view) []Link {
	var links []Link
	add := func(l Link) { links = append(links, l) }
	if d := v.DataVolume; d != nil {
		detail := []string{string(d.Status.Progress)}
		if d.Status.RestartCount > 0 {
			detail = append(detail, fmt.Sprintf("restarts %d", d.Status.RestartCount))
		}
		add(Link{"DataVolume", d.Name, orElse(string(d.Status.Phase), "no status"), d.CreationTimestamp.Time, join(append(detail, v.source.url)...)})
	}
	if v.ImportSource != nil {
		add(Link{"VolumeImportSource", v.ImportSource.Name, "there", v.ImportSource.CreationTimestamp.Time, ""})
	}
	for _, r := range v.References() {
		l := Link{Kind: r.Kind, Name: r.Name, State: "there"}
		for _, a := range v.Absent {
			if a == r {
				l.State = "absent"
			}
		}
		if v.unread(strings.ToLower(r.Kind)) {
			l.State = "not looked at"
		}
		add(l)
	}
	if v.Claim != nil {
		add(claimLink(v.Claim, v.population))
	} else if !v.unread("pvc") {
		add(Link{Kind: "PersistentVolumeClaim", Name: v.Name, State: "absent"})
	}
	if v.Prime != nil {
		add(claimLink(v.Prime, nil))
	}
	if p := v.Volume; p != nil {
		detail := ""
		if r := p.Spec.ClaimRef; r != nil {
			detail = "for claim " + r.Name
		}
		add(Link{"PersistentVolume", p.Name, string(p.Status.Phase), p.CreationTimestamp.Time, detail})
	}
	if v.Worker != nil {
		add(workerLink(v))
	}
	for i := range v.Users {
		p := &v.Users[i]
		add(Link{"Pod", p.Name, string(p.Status.Phase), p.CreationTimestamp.Time, "uses claim " + v.Name})
	}
	return append(links, surroundings(v)...)
}

// surroundings are the objects that stand by: class, profile, driver, node, quotas, agent.
func surroundings(v *view) []Link {
	var links []Link
	add := func(kind, name, state string, detail ...string) {
		links = append(links, Link{Kind: kind, Name: name, State: state, Detail: join(detail...)})
	}
	if c := v.Class; c != nil {
		mode := "Immediate"
		if c.VolumeBindingMode != nil {
			mode = string(*c.VolumeBindingMode)
		}
		isDefault := ""
		switch {
		case c.Annotations[cdi.AnnDefaultVirtClass] == "true":
			isDefault = "default for virtual machines"
		case c.Annotations[cdi.AnnDefaultClass] == "true":
			isDefault = "default"
		}
		add("StorageClass", c.Name, mode, c.Provisioner, isDefault)
	}
	if p := v.Profile; p != nil {
		sets := p.Status.ClaimPropertySets
		if len(sets) == 0 {
			sets = p.Spec.ClaimPropertySets
		}
		var modes []string
		for _, s := range sets {
			m := ""
			if s.VolumeMode != nil {
				m = " " + string(*s.VolumeMode)
			}
			for _, a := range s.AccessModes {
				modes = append(modes, string(a)+m)
			}
		}
		state := "complete"
		if len(modes) == 0 {
			state = "incomplete"
		}
		add("StorageProfile", p.Name, state, modes...)
	}
	if v.Class != nil && !v.unread("csidriver") {
		if v.Driver == nil {
			add("CSIDriver", v.Class.Provisioner, "absent", "the claim is filled in place")
		} else {
			add("CSIDriver", v.Driver.Name, "there", registered(v))
		}
	}
	if v.Worker != nil {
		if n := v.node(v.Worker.Spec.NodeName); n != nil {
			state, detail := "ready", ""
			if ok, c := nodeReady(n); !ok {
				state, detail = "not ready", nodeWhy(c)
			}
			if n.Spec.Unschedulable {
				detail = join("cordoned", detail)
			}
			add("Node", n.Name, state, detail)
		}
	}
	for i := range v.Quotas {
		if lines := quotaLines(&v.Quotas[i]); len(lines) > 0 {
			add("ResourceQuota", v.Quotas[i].Name, "there", lines...)
		}
	}
	for i := range v.Agent.Deployments {
		d := &v.Agent.Deployments[i]
		want := int32(1)
		if d.Spec.Replicas != nil {
			want = *d.Spec.Replicas
		}
		add("Deployment", d.Namespace+"/"+d.Name, fmt.Sprintf("%d of %d ready", d.Status.ReadyReplicas, want), "the agent", leader(v))
	}
	return links
}

func leader(v *view) string {
	l := v.Agent.Lease
	if l == nil || l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity == "" {
		return ""
	}
	holder, _, _ := strings.Cut(*l.Spec.HolderIdentity, "_")
	return "led by " + holder
}

func registered(v *view) string {
	if len(v.CSINodes) == 0 {
		return ""
	}
	n := 0
	for i := range v.CSINodes {
		if runs(&v.CSINodes[i], v.Driver.Name) {
			n++
		}
	}
	return fmt.Sprintf("on %d of %d nodes", n, len(v.CSINodes))
}

func runs(n *storagev1.CSINode, driver string) bool {
	for _, d := range n.Spec.Drivers {
		if d.Name == driver {
			return true
		}
	}
	return false
}

func claimLink(c *corev1.PersistentVolumeClaim, p *cdi.Population) Link {
	l := Link{Kind: "PersistentVolumeClaim", Name: c.Name, State: orElse(string(c.Status.Phase), "Pending"), Created: c.CreationTimestamp.Time}
	if c.DeletionTimestamp != nil {
		l.State = "being deleted"
	}
	var detail []string
	detail = append(detail, quantity(c.Spec.Resources.Requests[corev1.ResourceStorage]))
	if c.Spec.StorageClassName != nil && *c.Spec.StorageClassName != "" {
		detail = append(detail, "class "+*c.Spec.StorageClassName)
	}
	if c.Spec.VolumeMode != nil {
		detail = append(detail, string(*c.Spec.VolumeMode))
	}
	if p != nil && p.State != "" {
		detail = append(detail, strings.TrimSuffix(fmt.Sprintf("population %s (%s)", p.State, p.Reason), " ()"))
	}
	l.Detail = join(detail...)
	return l
}

func workerLink(v *view) Link {
	p := v.Worker
	l := Link{Kind: "Pod", Name: p.Name, State: orElse(string(p.Status.Phase), "Pending"), Created: p.CreationTimestamp.Time}
	if reason, _ := waiting(p); reason != "" {
		l.State = reason
	}
	if p.DeletionTimestamp != nil {
		l.State = "being deleted"
	}
	var detail []string
	if p.Spec.NodeName != "" {
		detail = append(detail, "on "+p.Spec.NodeName)
	}
	if n := restarts(p); n > 0 {
		detail = append(detail, fmt.Sprintf("restarts %d", n))
	}
	if r := v.result; r != nil {
		if r.read {
			detail = append(detail, fmt.Sprintf("last: %s (%s)", r.Outcome, r.Reason))
		} else {
			detail = append(detail, fmt.Sprintf("last: exit status %d (%s)", r.exit, r.reason))
		}
	}
	l.Detail = join(detail...)
	return l
}

// join puts what is not empty into one line.
func join(parts ...string) string {
	var some []string
	for _, p := range parts {
		if p != "" {
			some = append(some, p)
		}
	}
	return strings.Join(some, ", ")
}
