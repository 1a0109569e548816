package population

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cdictl/cdictl/cmd/agent/internal/podspec"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// rules are those that the package's documentation asks for.
func rules(t *testing.T) (rules []rbacv1.PolicyRule) {
	t.Helper()
	f, err := os.Open("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	line := regexp.MustCompile(`^// RBAC: ([a-z.0-9]+)/([a-z]+) ([a-z ]+[a-z])`)
	for s := bufio.NewScanner(f); s.Scan(); {
		if m := line.FindStringSubmatch(s.Text()); m != nil {
			group := m[1]
			if group == "core" {
				group = ""
			}
			verbs := strings.Fields(m[3])
			if i := slices.IndexFunc(verbs, func(v string) bool { return v == "in" }); i >= 0 {
				verbs = verbs[:i]
			}
			rules = append(rules, rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{m[2]}, Verbs: verbs})
		}
	}
	if len(rules) < 10 {
		t.Fatalf("%d rules", len(rules))
	}
	return rules
}

// counter counts requests that are not watches.
type counter struct {
	rest http.RoundTripper
	mu   sync.Mutex
	n    map[string]int
}

func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Query().Get("watch") == "" {
		path := strings.Split(r.URL.Path, "/")
		kind := path[len(path)-1]
		for i, p := range path {
			if p == "namespaces" && i+2 < len(path) {
				kind = path[i+2]
			} else if p == "persistentvolumes" {
				kind = p
			}
		}
		c.mu.Lock()
		c.n[r.Method+" "+kind]++
		c.mu.Unlock()
	}
	return c.rest.RoundTrip(r)
}

// TestManager runs the controller as it is deployed: with its caches, several claims at once, and no more rights than it
// asks for.
func TestManager(t *testing.T) {
	const each = 10
	s := newStage(t)
	env := *s.env
	account := "system:serviceaccount:" + s.ns + ":agent"
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "agent-" + s.ns}, Rules: rules(t)}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "agent-" + s.ns},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: s.ns, Name: "agent"}},
	}
	s.must(s.c.Create(t.Context(), role))
	s.must(s.c.Create(t.Context(), binding))
	env.Config = s.env.ConfigFor(account, "system:serviceaccounts")
	count := &counter{n: map[string]int{}}
	env.Config.Wrap(func(rt http.RoundTripper) http.RoundTripper { count.rest = rt; return count })
	env.Config.QPS, env.Config.Burst = 100, 200

	stop := env.StartManager(t, func(mgr ctrl.Manager) error {
		return Add(mgr, Options{Image: "agent:test", Namespace: s.ns, Certs: paper{}})
	}, func(o *ctrl.Options) {
		o.Cache.ByObject = map[client.Object]cache.ByObject{&corev1.Pod{}: {Label: labels.SelectorFromSet(podspec.Labels())}}
	})

	class, late := s.class(immediately, driver), s.class(lazily, driver)
	var claims []*corev1.PersistentVolumeClaim
	add := func(f flow, class string, annotations map[string]string) {
		for range each {
			c := s.claimNamed(fmt.Sprintf("disk-%d", len(claims)), f, class, annotations)
			claims = append(claims, c)
		}
	}
	add(viaPrime, class, nil)
	add(direct, late, map[string]string{cdi.AnnImmediateBinding: ""})
	time.Sleep(200 * time.Millisecond)
	s.source() // the claims are there before it

	deadline := time.Now().Add(2 * time.Minute)
	began := time.Now()
	for {
		s.play()
		open := ""
		for _, c := range claims {
			if now := s.get(c); saidOf(now).State != cdi.StateDone || !bound(now) {
				open = now.Name + ": " + now.Annotations[cdi.AnnPopulation]
			}
		}
		if open == "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(open)
		}
	}
	took := time.Since(began)
	time.Sleep(time.Second) // for events on their way
	stop()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		s.play()
		left := slices.DeleteFunc(s.leftovers(), func(n string) bool { return strings.HasPrefix(n, "claim disk-") })
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("left over: %v", left)
		}
	}
	s.once(eventSucceeded, len(claims))
	if len(s.pods) != len(claims) || s.containers != len(claims) {
		t.Errorf("%d claims took %d pods, %d containers", len(claims), len(s.pods), s.containers)
	}
	total := 0
	var kinds []string
	for kind, n := range count.n {
		kinds = append(kinds, fmt.Sprintf("%s %.1f", kind, float64(n)/float64(len(claims))))
		total += n
	}
	slices.Sort(kinds)
	per := float64(total) / float64(len(claims))
	t.Logf("%d claims in %v, %.1f requests each: %s", len(claims), took.Round(time.Millisecond), per, strings.Join(kinds, ", "))
	if per > 25 {
		t.Errorf("%.1f requests a claim", per)
	}
}

// once checks that an event was told once for each claim.
func (s *stage) once(reason string, want int) {
	s.Helper()
	var list corev1.EventList
	s.must(s.c.List(s.Context(), &list, client.InNamespace(s.ns)))
	n := 0
	for _, e := range list.Items {
		if e.Reason == reason {
			n++
			if e.Count > 1 || e.Series != nil {
				s.Errorf("told more than once: %s about %s", e.Reason, e.InvolvedObject.Name)
			}
		}
	}
	if n != want {
		s.Errorf("%d events %s, want %d", n, reason, want)
	}
}
