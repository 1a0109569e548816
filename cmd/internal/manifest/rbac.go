package manifest

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/cmd/internal/coexist"
)

var read = []string{"get", "list", "watch"}

// clusterRules are what the managers may do in all namespaces: what the docs of their packages ask for, in lines that
// begin with RBAC. A test holds the two together.
//
// Not among them is to get, list or watch Secrets: a user's Secret is mounted into the worker by kubelet, and the Secret of
// a job is written and deleted unread. It is updated whole, never patched: the answer to a patch, even an empty one, is the
// object with all its content. One way to that remains. Who may make pods in a namespace can mount its Secrets, and that
// cannot be avoided: workers are pods.
func clusterRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		// What people ask for, and what they are told of it.
		rule(cdi.Group, read, "datavolumes", "volumeimportsources", "storageprofiles", "cdiconfigs"),
		rule(cdi.Group, []string{"get"}, "datasources"),
		rule("", []string{"get"}, "namespaces"),
		rule(cdi.Group, []string{"patch"}, "datavolumes/status", "storageprofiles/status"),
		rule(cdi.Group, []string{"create", "delete"}, "volumeimportsources"),
		rule(cdi.Group, []string{"create", "patch", "delete"}, "storageprofiles"),
		rule(cdi.Group, []string{"create", "patch"}, "cdiconfigs"),
		// Where admission asks for it, to be named as the owner of what is made.
		rule(cdi.Group, []string{"update"}, "datavolumes/finalizers"),

		// Claims are made, filled under another name, and given the volume.
		rule("", with(read, "create", "patch", "delete"), "persistentvolumeclaims"),
		rule("", with(read, "patch"), "persistentvolumes"),
		rule("", with(read, "create", "delete"), "pods"),
		rule("", []string{"create", "update", "delete"}, "secrets"),
		rule("", []string{"list"}, "events"),
		rule("events.k8s.io", []string{"create", "patch"}, "events"),

		// What decides how.
		rule("storage.k8s.io", read, "storageclasses", "csidrivers"),

		// Who may read the metrics.
		rule("authentication.k8s.io", []string{"create"}, "tokenreviews"),
		rule("authorization.k8s.io", []string{"create"}, "subjectaccessreviews"),

		// Its own webhook, to write the CA bundle. By name: list and watch too, as far as they ask for this name.
		named(rule("admissionregistration.k8s.io", with(read, "patch"), "validatingwebhookconfigurations"), cdi.WebhookConfig),
	}
}

// namespaceRules are what the managers may do in their own namespace. To create cannot be granted by name.
func namespaceRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		rule("coordination.k8s.io", []string{"create"}, "leases"),
		named(rule("coordination.k8s.io", []string{"get", "update", "patch"}, "leases"), cdi.Lease),
		rule("", []string{"create"}, "secrets"),
		named(rule("", with(read, "update"), "secrets"), cdi.WebhookSecret, cdi.WorkerSecret),
		rule("", []string{"get"}, "configmaps"),
	}
}

func rule(group string, verbs []string, resources ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: resources, Verbs: slices.Clone(verbs)}
}

func named(r rbacv1.PolicyRule, names ...string) rbacv1.PolicyRule {
	r.ResourceNames = names
	return r
}

func (o Options) agentRoles() []Object {
	subject := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: o.Namespace, Name: cdi.Agent}}
	return []Object{
		&rbacv1.ClusterRole{TypeMeta: kind(rbacv1.SchemeGroupVersion.String(), "ClusterRole"), ObjectMeta: o.meta("", cdi.Agent),
			Rules: append(clusterRules(), coexist.Rules()...)},
		&rbacv1.ClusterRoleBinding{TypeMeta: kind(rbacv1.SchemeGroupVersion.String(), "ClusterRoleBinding"), ObjectMeta: o.meta("", cdi.Agent),
			RoleRef: roleRef("ClusterRole", cdi.Agent), Subjects: subject},
		&rbacv1.Role{TypeMeta: kind(rbacv1.SchemeGroupVersion.String(), "Role"), ObjectMeta: o.meta(o.Namespace, cdi.Agent), Rules: namespaceRules()},
		&rbacv1.RoleBinding{TypeMeta: kind(rbacv1.SchemeGroupVersion.String(), "RoleBinding"), ObjectMeta: o.meta(o.Namespace, cdi.Agent),
			RoleRef: roleRef("Role", cdi.Agent), Subjects: subject},
	}
}

func roleRef(kind, name string) rbacv1.RoleRef {
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}
}

func with(verbs []string, more ...string) []string { return append(slices.Clone(verbs), more...) }
