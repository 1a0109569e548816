// Package coexist finds out whether a cluster runs CDI already: KubeVirt's, or another installation of ours. Two of them
// would fill the same claims and overwrite each other's definitions, so there is no second one. Look fetches facts, Decide
// is pure.
package coexist

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/lib/errdef"
)

// What KubeVirt's CDI consists of.
const (
	operator     = "cdi-operator"
	controller   = "cdi-deployment"
	apiService   = "v1beta1." + cdi.UploadGroup
	apiServerSvc = "cdi-api" // its Service, which webhooks and the APIService call
	webhooks     = "cdi-api-"
)

var (
	deployments = []string{operator, controller, "cdi-apiserver", "cdi-uploadproxy"}
	leases      = []string{"cdi-controller-leader-election-helper", "cdi-operator-leader-election-helper"}
)

// leaseLife is how long after its last renewal a lease still counts. Leaders renew every few seconds.
const leaseLife = 2 * time.Minute

// Facts are what Look found. Everything in them is by name one of those above, or ours.
type Facts struct {
	Deployments []Deployment
	// APIService is the Service behind v1beta1.upload.cdi.kubevirt.io; zero: there is none.
	APIService Ref
	Webhooks   []Webhook
	Leases     []Lease
	CDIs       []string // objects of kind CDI
	// Agents are the Deployments of our own agent, and Webhook the Service that its webhook calls.
	Agents  []Ref
	Webhook Ref
	// Old are definitions of ours that have objects stored in versions which ours do not have.
	Old []Definition
	// Unseen are what could not be looked at, in words, because rights were missing.
	Unseen []string
}

// Ref is a namespaced object.
type Ref struct{ Namespace, Name string }

func (r Ref) String() string { return r.Namespace + "/" + r.Name }

// Deployment is one of KubeVirt's CDI. Replicas that are 0 do no harm.
type Deployment struct {
	Ref
	Replicas int64
}

// Webhook is a configuration of KubeVirt's CDI.
type Webhook struct{ Resource, Name string }

// Lease says when the leader that holds it was last alive.
type Lease struct {
	Ref
	Holder  string
	Renewed time.Time
}

// Definition is a CustomResourceDefinition and versions that objects are stored in.
type Definition struct {
	Name   string
	Stored []string
}

// A Verdict says whether the agent may be installed, or run, in the namespace.
type Verdict struct {
	// Conflicts are what stands against it, in words. None: nothing.
	Conflicts []string
	// Plan is what to do about them, a paragraph or a command in each line.
	Plan []string
	// Notes are what should be known, and stands against nothing.
	Notes []string
}

// Err is nil, or an errdef.ErrRefused that names the conflicts.
func (v Verdict) Err() error {
	if len(v.Conflicts) == 0 {
		return nil
	}
	return errdef.WithHint(fmt.Errorf("the cluster runs CDI already (%s): %w", strings.Join(v.Conflicts, ", "), errdef.ErrRefused),
		"remove the other one first, or use it as it is: two would fill the same claims")
}

// Decide says what the facts mean for an agent in namespace at the time now.
func Decide(f Facts, namespace string, now time.Time) Verdict {
	var v Verdict
	v.peer(f, now)
	v.ourselves(f, namespace)
	for _, d := range f.Old {
		v.Conflicts = append(v.Conflicts, fmt.Sprintf("%s has objects stored as %s", d.Name, strings.Join(d.Stored, ", ")))
		v.Plan = append(v.Plan, fmt.Sprintf("Objects of %s are stored in a version that is no longer there. Write each anew, then forget the old version:", d.Name),
			fmt.Sprintf("  kubectl get %s -A -o yaml | kubectl replace -f -", d.Name),
			fmt.Sprintf(`  kubectl patch crd %s --subresource=status --type=merge -p '{"status":{"storedVersions":["v1beta1"]}}'`, d.Name))
	}
	for _, u := range f.Unseen {
		v.Notes = append(v.Notes, "could not be looked at: "+u)
	}
	return v
}

// peer looks for KubeVirt's CDI.
func (v *Verdict) peer(f Facts, now time.Time) {
	before := len(v.Conflicts)
	var steps []string
	for _, d := range sorted(f.Deployments) {
		if d.Replicas == 0 {
			v.Notes = append(v.Notes, fmt.Sprintf("deployment %s is there, scaled to 0: never scale it up beside the agent", d.Ref))
			continue
		}
		v.Conflicts = append(v.Conflicts, "deployment "+d.String())
		steps = append(steps, fmt.Sprintf("  kubectl -n %s scale deployment %s --replicas=0", d.Namespace, d.Name))
	}
	for _, w := range f.Webhooks {
		v.Conflicts = append(v.Conflicts, strings.TrimSuffix(w.Resource, "s")+" "+w.Name)
		steps = append(steps, fmt.Sprintf("  kubectl delete %s %s", w.Resource, w.Name))
	}
	if (f.APIService != Ref{}) {
		v.Conflicts = append(v.Conflicts, fmt.Sprintf("apiservice %s, answered by %s", apiService, f.APIService))
		steps = append(steps, "  kubectl delete apiservice "+apiService)
	}
	for _, l := range f.Leases {
		if l.Holder == "" || now.Sub(l.Renewed) > leaseLife {
			continue // whoever held it is gone
		}
		v.Conflicts = append(v.Conflicts, fmt.Sprintf("lease %s, held by %s", l.Ref, l.Holder))
		steps = append(steps, fmt.Sprintf("  # wait until %s has not been renewed for two minutes", l.Ref))
	}
	if len(v.Conflicts) == before {
		if len(f.CDIs) > 0 {
			v.Notes = append(v.Notes, fmt.Sprintf("object cdi/%s is there, and nothing acts on it. Leave it: deleting it may take all DataVolumes along", strings.Join(f.CDIs, ", cdi/")))
		}
		return
	}
	v.Plan = append(v.Plan,
		"To keep it: install nothing. cdictl works with DataVolumes of KubeVirt's CDI as it is.",
		"To replace it, keeping every DataVolume and its disk: wait until none is being filled (kubectl get dv -A), then:")
	v.Plan = append(v.Plan, steps...)
	v.Plan = append(v.Plan,
		"and run the command again. An operator that others manage (OLM, HCO, GitOps) must be switched off there, or it comes back.")
	if len(f.CDIs) > 0 {
		v.Plan = append(v.Plan, fmt.Sprintf("Do NOT delete the object cdi/%s: with it go the definitions, with them every DataVolume, and with those their disks.", f.CDIs[0]))
	}
}

// ourselves looks for the agent in another namespace.
func (v *Verdict) ourselves(f Facts, namespace string) {
	var elsewhere []string
	for _, r := range append(f.Agents, f.Webhook) {
		if (r == Ref{}) || r.Namespace == namespace || slices.Contains(elsewhere, r.Namespace) {
			continue
		}
		elsewhere = append(elsewhere, r.Namespace)
		v.Conflicts = append(v.Conflicts, fmt.Sprintf("the agent in namespace %s", r.Namespace))
		v.Plan = append(v.Plan,
			fmt.Sprintf("The agent runs in namespace %s. To update it there: cdictl install --namespace %s | kubectl apply -f -", r.Namespace, r.Namespace),
			fmt.Sprintf("To move it: cdictl uninstall --namespace %s, which leaves DataVolumes and their disks as they are, and run the command again.", r.Namespace))
	}
}

func sorted(d []Deployment) []Deployment {
	return slices.SortedFunc(slices.Values(d), func(a, b Deployment) int { // the operator first: it would bring the others back
		return slices.Index(deployments, a.Name) - slices.Index(deployments, b.Name)
	})
}
