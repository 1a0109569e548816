package manifest

import (
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

const forklift = "forklift.cdi.kubevirt.io"

// userRoles are the rights of people. The first three join the cluster's own roles admin, edit and view, by aggregation;
// the last one lets everybody who is logged in see how storage is set up, as their tools need to. The names are those that
// the ecosystem binds to.
func (o Options) userRoles() []Object {
	change := []rbacv1.PolicyRule{
		rule(cdi.Group, []string{"*"}, "datavolumes", "dataimportcrons", "datasources", "volumeimportsources", "volumeuploadsources", "volumeclonesources"),
		// To create datavolumes/source is to take a disk as the source of a clone in another namespace.
		rule(cdi.Group, []string{"create"}, "datavolumes/source"),
		rule(cdi.UploadGroup, []string{"*"}, "uploadtokenrequests"),
		rule(forklift, []string{"*"}, "ovirtvolumepopulators", "openstackvolumepopulators"),
	}
	config := rule(cdi.Group, read, "cdiconfigs", "storageprofiles")
	look := []rbacv1.PolicyRule{
		rule(cdi.Group, read, "datavolumes", "dataimportcrons", "datasources", "volumeimportsources", "volumeuploadsources",
			"volumeclonesources", "cdiconfigs", "storageprofiles", "objecttransfers"),
		rule(forklift, read, "ovirtvolumepopulators", "openstackvolumepopulators"),
	}
	var all []Object
	for _, r := range []struct {
		to    string
		rules []rbacv1.PolicyRule
	}{{"admin", change}, {"edit", change}, {"view", look}} {
		role := o.clusterRole(cdi.Group+":"+r.to, r.rules)
		role.Labels["rbac.authorization.k8s.io/aggregate-to-"+r.to] = "true"
		all = append(all, role)
	}
	const reader = cdi.Group + ":config-reader"
	return append(all, o.clusterRole(reader, []rbacv1.PolicyRule{config}), &rbacv1.ClusterRoleBinding{
		TypeMeta: kind(rbacv1.SchemeGroupVersion.String(), "ClusterRoleBinding"), ObjectMeta: o.meta("", reader),
		RoleRef:  roleRef("ClusterRole", reader),
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "system:authenticated"}},
	})
}

func (o Options) clusterRole(name string, rules []rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{
		TypeMeta: kind(rbacv1.SchemeGroupVersion.String(), "ClusterRole"), ObjectMeta: o.meta("", name), Rules: rules,
	}
}
