// Package validate says what is wrong with objects of cdi.kubevirt.io, as the ecosystem knows it: in the same order, with
// messages of the same wording, as causes of a metav1.Status. Checks come in groups; the first group that finds something
// ends the validation, because what follows would only be consequences.
//
// It is pure: nothing is asked of a cluster. What the schema of a CRD says (types, enums, required fields) is not said again
// here, except where an object may be part of another one.
package validate

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Causes are what is wrong; none if nothing is.
type Causes []metav1.StatusCause

// String tells all of them, each with its field.
func (cs Causes) String() string {
	m := make([]string, len(cs))
	for i, c := range cs {
		m[i] = c.Field + ": " + c.Message
	}
	return strings.Join(m, ", ")
}

func invalid(path *field.Path, format string, args ...any) Causes {
	return Causes{{Type: metav1.CauseTypeFieldValueInvalid, Field: path.String(), Message: fmt.Sprintf(format, args...)}}
}

// wrong is invalid with the wording of Kubernetes' own field errors.
func wrong(errs ...*field.Error) Causes {
	var cs Causes
	for _, e := range errs {
		cs = append(cs, metav1.StatusCause{Type: metav1.CauseTypeFieldValueInvalid, Field: e.Field, Message: e.ErrorBody()})
	}
	return cs
}

// duplicate is what updates of a spec are refused with, and names that are taken.
func duplicate(path, format string, args ...any) Causes {
	return Causes{{Type: metav1.CauseTypeFieldValueDuplicate, Field: path, Message: fmt.Sprintf(format, args...)}}
}

// first returns what the first check finds that finds something.
func first(checks ...func() Causes) Causes {
	for _, check := range checks {
		if cs := check(); len(cs) > 0 {
			return cs
		}
	}
	return nil
}

// length is of names that become those of other objects.
func length(path *field.Path, name string, limit int) Causes {
	if len(name) > limit {
		return invalid(path, "Name cannot be longer than %d characters", limit)
	}
	return nil
}

// The limits of names: of most objects, and of those that become labels.
const (
	nameLimit  = validation.DNS1123SubdomainMaxLength
	labelLimit = validation.LabelValueMaxLength
)

var accessModes = []corev1.PersistentVolumeAccessMode{
	corev1.ReadWriteOnce, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOncePod,
}

func knownAccessModes(path *field.Path, modes []corev1.PersistentVolumeAccessMode) Causes {
	for i, m := range modes {
		if !slices.Contains(accessModes, m) {
			return wrong(field.NotSupported(path.Index(i), m, accessModes))
		}
	}
	return nil
}
