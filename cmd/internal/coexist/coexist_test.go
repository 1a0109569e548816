package coexist

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
)

func TestDecide(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	lease := func(age time.Duration, holder string) []Lease {
		return []Lease{{Ref{"cdi", leases[0]}, holder, now.Add(-age)}}
	}
	operatorOf := func(replicas int64) []Deployment { return []Deployment{{Ref{"cdi", operator}, replicas}} }
	for _, tt := range []struct {
		name  string
		facts Facts
		want  string // in what stands against it; "" for nothing
		plan  string
		note  string
	}{
		{name: "an empty cluster"},
		{name: "the operator", facts: Facts{Deployments: operatorOf(1)}, want: "deployment cdi/cdi-operator",
			plan: "kubectl -n cdi scale deployment cdi-operator --replicas=0"},
		{name: "the operator with its object", facts: Facts{Deployments: operatorOf(1), CDIs: []string{"cdi"}}, want: "deployment",
			plan: "Do NOT delete the object cdi/cdi"},
		{name: "an operator that sleeps", facts: Facts{Deployments: operatorOf(0)}, note: "scaled to 0"},
		{name: "only the object", facts: Facts{CDIs: []string{"cdi"}}, note: "object cdi/cdi is there"},
		{name: "the API service", facts: Facts{APIService: Ref{"cdi", "cdi-api"}}, want: "answered by cdi/cdi-api", plan: "kubectl delete apiservice v1beta1.upload"},
		{name: "a webhook", facts: Facts{Webhooks: []Webhook{{mutating, "cdi-api-datavolume-mutate"}}},
			want: "mutatingwebhookconfiguration cdi-api-datavolume-mutate", plan: "kubectl delete mutatingwebhookconfigurations cdi-api-datavolume-mutate"},
		{name: "a leader", facts: Facts{Leases: lease(10*time.Second, "pod-1")}, want: "held by pod-1"},
		{name: "a leader that is gone", facts: Facts{Leases: lease(time.Hour, "pod-1")}},
		{name: "a lease that was given back", facts: Facts{Leases: lease(0, "")}},
		{name: "ourselves", facts: Facts{Agents: []Ref{{"here", "cdi-agent"}}, Webhook: Ref{"here", "cdi-agent-webhook"}}},
		{name: "ourselves elsewhere", facts: Facts{Agents: []Ref{{"there", "cdi-agent"}}, Webhook: Ref{"there", "cdi-agent-webhook"}},
			want: "the agent in namespace there", plan: "cdictl uninstall --namespace there"},
		{name: "our webhook elsewhere", facts: Facts{Webhook: Ref{"there", "cdi-agent-webhook"}}, want: "the agent in namespace there"},
		{name: "old objects", facts: Facts{Old: []Definition{{"datavolumes.cdi.kubevirt.io", []string{"v1alpha1"}}}}, want: "stored as v1alpha1", plan: "storedVersions"},
		{name: "missing rights", facts: Facts{Unseen: []string{"leases"}}, note: "could not be looked at: leases"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := Decide(tt.facts, "here", now)
			err := v.Err()
			if tt.want == "" {
				if err != nil || len(v.Plan) > 0 {
					t.Errorf("got %v, plan %q", err, v.Plan)
				}
			} else if !errors.Is(err, errdef.ErrRefused) || errdef.ExitCode(err) != 20 || !strings.Contains(err.Error(), tt.want) || len(v.Conflicts) != 1 {
				t.Errorf("got %v", err)
			}
			if plan := strings.Join(v.Plan, "\n"); !strings.Contains(plan, tt.plan) {
				t.Errorf("plan: %s", plan)
			}
			if notes := strings.Join(v.Notes, "\n"); !strings.Contains(notes, tt.note) || (notes != "") != (tt.note != "") {
				t.Errorf("notes: %q", notes)
			}
		})
	}
}
