package manifest_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cdictl/cdictl/cmd/internal/apitest"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/cmd/internal/manifest"
)

func TestMain(m *testing.M) {
	apitest.Main(m, apitest.Options{NoCRDs: true, Controllers: []string{"clusterrole-aggregation-controller"}})
}

// kubectl runs it as the administrator and returns what it printed.
func kubectl(t *testing.T, e *apitest.Env, stdin string, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), filepath.Join(e.Bin, "kubectl"), append([]string{"--kubeconfig", e.Kubeconfig}, args...)...)
	c.Env = append(os.Environ(), "HOME="+t.TempDir()) // of its cache
	c.Stdin = strings.NewReader(stdin)
	var out, talk bytes.Buffer
	c.Stdout, c.Stderr = &out, &talk
	if err := c.Run(); err != nil {
		t.Fatalf("kubectl %s: %v\n%s%s", strings.Join(args, " "), err, &out, &talk)
	}
	if talk.Len() > 0 {
		t.Errorf("kubectl %s: %s", strings.Join(args, " "), &talk)
	}
	return out.String()
}

// apply makes the installation, as a user does.
func apply(t *testing.T, e *apitest.Env) string {
	t.Helper()
	objects, err := manifest.Objects(manifest.Options{Image: "registry.example/agent:v1", Version: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := manifest.YAML(objects)
	if err != nil {
		t.Fatal(err)
	}
	return kubectl(t, e, string(text), "apply", "-f", "-")
}

func TestApply(t *testing.T) {
	e := apitest.Start(t)
	apply(t, e)
	established(t, e)

	t.Run("twice changes nothing", func(t *testing.T) {
		// What kubectl says of each is no measure: it calls a PodDisruptionBudget configured whenever it sees one.
		versions := func() string {
			return kubectl(t, e, "", "get", "-A", "-l", cdi.LabelManagedBy+"="+cdi.ManagedByUs, "-o",
				`jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.resourceVersion}{"\n"}{end}`,
				"crd,ns,sa,clusterroles,clusterrolebindings,roles,rolebindings,networkpolicies,services,deployments,pdb,validatingwebhookconfigurations")
		}
		before := versions()
		if n := strings.Count(before, "\n"); n < 25 {
			t.Fatalf("only %d objects:\n%s", n, before)
		}
		apply(t, e)
		if diff := gocmp.Diff(before, versions()); diff != "" {
			t.Errorf("(-before +after):\n%s", diff)
		}
	})
	t.Run("the CA of the webhook survives", func(t *testing.T) {
		patch := fmt.Sprintf(`[{"op":"add","path":"/webhooks/0/clientConfig/caBundle","value":%q}]`,
			base64.StdEncoding.EncodeToString(e.Config.CAData)) // any certificate will do
		kubectl(t, e, "", "patch", "validatingwebhookconfiguration", cdi.WebhookConfig, "--type=json", "-p", patch)
		apply(t, e)
		if got := kubectl(t, e, "", "get", "validatingwebhookconfiguration", cdi.WebhookConfig, "-o", "jsonpath={.webhooks[0].clientConfig.caBundle}"); got == "" {
			t.Error("it is gone after applying again")
		}
	})
	t.Run("explain", func(t *testing.T) {
		for field, want := range map[string]string{
			"dv.spec":            "contentType",
			"dv.spec.source":     "DataVolumeSource",
			"dic.spec.template":  "Labels and annotations of the DataVolumes",
			"cdi.spec":           "uninstallStrategy",
			"cdiconfig.spec":     "filesystemOverhead",
			"storageprofile":     "StorageProfile provides a CDI specific recommendation",
			"volumeimportsource": "VolumeImportSource works as a specification",
			"dv.status.phase":    "phase",
		} {
			got := kubectl(t, e, "", "explain", field)
			if !strings.Contains(got, want) || strings.Contains(got, "<empty>") {
				t.Errorf("%s: got %s", field, got)
			}
		}
	})
	t.Run("short names, columns and categories", func(t *testing.T) {
		got := kubectl(t, e, "", "api-resources", "--api-group", cdi.Group, "--categories", "all", "--no-headers")
		for _, want := range []string{"datavolumes", "dv,dvs", "dataimportcrons", "dic,dics", "datasources", "das"} {
			if !strings.Contains(got, want) {
				t.Errorf("no %s in %s", want, got)
			}
		}
	})
}

func established(t *testing.T, e *apitest.Env) {
	t.Helper()
	kubectl(t, e, "", "wait", "--for=condition=Established", "--timeout=60s", "crd", "-l", cdi.LabelManagedBy+"="+cdi.ManagedByUs)
}

// A right is a verb on a resource of a group, in a namespace or ("") everywhere.
type right struct {
	verb, group, resource, namespace, name string
}

func (r right) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s.%s %s in %q", r.verb, r.resource, r.group, r.name, r.namespace))
}

func may(t *testing.T, e *apitest.Env, user string, groups []string, r right) bool {
	t.Helper()
	resource, sub, _ := strings.Cut(r.resource, "/")
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user, Groups: append([]string{"system:authenticated"}, groups...),
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Verb: r.verb, Group: r.group, Resource: resource, Subresource: sub, Namespace: r.namespace, Name: r.name,
		},
	}}
	if err := e.Client.Create(t.Context(), review); err != nil {
		t.Fatal(err)
	}
	return review.Status.Allowed
}

func TestAgentRole(t *testing.T) {
	e := apitest.Start(t)
	apply(t, e)
	user, groups := "system:serviceaccount:cdi:cdi-agent", []string{"system:serviceaccounts", "system:serviceaccounts:cdi"}
	want := map[right]bool{
		{"create", "", "pods", "x", ""}:                                                              true,
		{"create", "", "secrets", "x", ""}:                                                           true,
		{"delete", "", "secrets", "x", ""}:                                                           true,
		{"patch", "", "persistentvolumes", "", ""}:                                                   true,
		{"patch", cdi.Group, "datavolumes/status", "x", ""}:                                          true,
		{"update", "coordination.k8s.io", "leases", "cdi", cdi.Lease}:                                true,
		{"update", "", "secrets", "cdi", cdi.WebhookSecret}:                                          true,
		{"get", "", "secrets", "cdi", cdi.WorkerSecret}:                                              true,
		{"get", "apps", "deployments", "x", "somebody"}:                                              false,
		{"list", "apps", "deployments", "", "cdi-deployment"}:                                        true,
		{"list", "apps", "deployments", "", ""}:                                                      false,
		{"get", "", "secrets", "x", "any"}:                                                           false,
		{"patch", "", "secrets", "x", "any"}:                                                         false,
		{"get", "", "secrets", "cdi", "another"}:                                                     false,
		{"list", "", "secrets", "", ""}:                                                              false,
		{"list", "", "secrets", "cdi", ""}:                                                           false,
		{"watch", "", "secrets", "x", ""}:                                                            false,
		{"deletecollection", "", "secrets", "x", ""}:                                                 false,
		{"create", "", "pods/exec", "x", ""}:                                                         false,
		{"get", "", "pods/log", "x", ""}:                                                             false,
		{"delete", "", "persistentvolumes", "", ""}:                                                  false,
		{"delete", cdi.Group, "datavolumes", "x", ""}:                                                false,
		{"patch", cdi.Group, "datavolumes", "x", ""}:                                                 false,
		{"create", "rbac.authorization.k8s.io", "clusterrolebindings", "", ""}:                       false,
		{"patch", "admissionregistration.k8s.io", "validatingwebhookconfigurations", "", "somebody"}: false,
		{"patch", "apiextensions.k8s.io", "customresourcedefinitions", "", ""}:                       false,
		{"update", "coordination.k8s.io", "leases", "kube-system", "any"}:                            false,
		{"list", "", "nodes", "", ""}:                                                                false,
		{"impersonate", "", "users", "", ""}:                                                         false,
	}
	for r, allowed := range want {
		if got := may(t, e, user, groups, r); got != allowed {
			t.Errorf("%s: allowed is %v", r, got)
		}
	}
}

// The cluster's own roles view, edit and admin, and everybody who is logged in.
func TestUserRoles(t *testing.T) {
	e := apitest.Start(t)
	apply(t, e)
	ns := e.Namespace(t)
	namespaced := []string{"datavolumes", "dataimportcrons", "datasources", "volumeimportsources", "volumeuploadsources", "volumeclonesources"}
	reading := []string{"get", "list", "watch"}
	writing := []string{"create", "update", "patch", "delete", "deletecollection"}

	for _, role := range []string{"view", "edit", "admin"} {
		b := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: role},
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: role}}}
		if err := e.Client.Create(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		apitest.Within(t, time.Minute, func() error { // until the roles are aggregated
			if !may(t, e, role, nil, right{"get", cdi.Group, "datavolumes", ns, ""}) {
				return fmt.Errorf("%s cannot read DataVolumes", role)
			}
			return nil
		})
		writes := role != "view"
		if writes {
			apitest.Within(t, time.Minute, func() error {
				if !may(t, e, role, nil, right{"create", cdi.Group, "datavolumes", ns, ""}) {
					return fmt.Errorf("%s cannot make DataVolumes", role)
				}
				return nil
			})
		}
		check := func(want bool, r right) {
			t.Helper()
			if got := may(t, e, role, nil, r); got != want {
				t.Errorf("%s: %s: allowed is %v", role, r, got)
			}
		}
		for _, resource := range namespaced {
			for _, verb := range reading {
				check(true, right{verb, cdi.Group, resource, ns, ""})
				check(false, right{verb, cdi.Group, resource, "default", ""})
			}
			for _, verb := range writing {
				check(writes, right{verb, cdi.Group, resource, ns, ""})
			}
		}
		check(writes, right{"create", cdi.Group, "datavolumes/source", ns, "a"})
		check(writes, right{"create", cdi.UploadGroup, "uploadtokenrequests", ns, ""})
		for _, resource := range []string{"cdiconfigs", "storageprofiles"} {
			for _, verb := range writing {
				check(false, right{verb, cdi.Group, resource, "", ""})
			}
		}
		check(false, right{"update", cdi.Group, "datavolumes/status", ns, ""})
	}
	for _, resource := range []string{"cdiconfigs", "storageprofiles"} {
		for _, verb := range reading {
			if !may(t, e, "anybody", nil, right{verb, cdi.Group, resource, "", ""}) {
				t.Errorf("anybody: %s %s is not allowed", verb, resource)
			}
		}
	}
	if may(t, e, "anybody", nil, right{"list", cdi.Group, "datavolumes", ns, ""}) {
		t.Error("anybody lists DataVolumes")
	}
}

// What the definitions themselves refuse, with no webhook and no manager.
func TestRules(t *testing.T) {
	e := apitest.Start(t)
	apply(t, e)
	established(t, e)
	kubectl(t, e, "", "delete", "validatingwebhookconfiguration", cdi.WebhookConfig)
	ns := e.Namespace(t)
	upload := &cdiv1.VolumeUploadSource{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "a"}, Spec: cdiv1.VolumeUploadSourceSpec{ContentType: "kubevirt"}}
	if err := e.Client.Create(t.Context(), upload); err != nil {
		t.Fatal(err)
	}
	upload.Spec.ContentType = "archive"
	transfer := func(kind string, target *string) client.Object {
		return &cdiv1.ObjectTransfer{ObjectMeta: metav1.ObjectMeta{GenerateName: "a"}, Spec: cdiv1.ObjectTransferSpec{
			Source: cdiv1.TransferSource{Kind: kind, Namespace: ns, Name: "a"}, Target: cdiv1.TransferTarget{Name: target}}}
	}
	for _, tt := range []struct {
		name, want string
		err        error
	}{
		{"upload source changed", "Cannot update VolumeUploadSource Spec", e.Client.Update(t.Context(), upload)},
		{"transfer of a pod", "source kind must be", e.Client.Create(t.Context(), transfer("Pod", new("b")))},
		{"transfer to nowhere", "target needs", e.Client.Create(t.Context(), transfer("DataVolume", nil))},
	} {
		if !apierrors.IsInvalid(tt.err) || !strings.Contains(tt.err.Error(), tt.want) {
			t.Errorf("%s: got %v", tt.name, tt.err)
		}
	}

	// The template of a cron keeps what it says of labels and annotations.
	cron := &cdiv1.DataImportCron{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "a"}}
	cron.Spec.ManagedDataSource = "a"
	cron.Spec.Template.Annotations = map[string]string{cdi.AnnImmediateBinding: ""}
	if err := e.Client.Create(t.Context(), cron); err != nil {
		t.Fatal(err)
	}
	if _, ok := cron.Spec.Template.Annotations[cdi.AnnImmediateBinding]; !ok {
		t.Error("the annotations of a cron's template are lost")
	}
}
