package datavolume

import (
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	corev1 "k8s.io/api/core/v1"

	"github.com/cdictl/cdictl/cmd/agent/internal/claim"
	"github.com/cdictl/cdictl/cmd/agent/internal/dvstatus"
)

// Reasons why a DataVolume has no claim yet.
const (
	reasonQuota        = "ErrExceededQuota" // KubeVirt looks for it
	reasonExists       = "ErrResourceExists"
	reasonDeleting     = "ErrResourceMarkedForDeletion"
	reasonNotValid     = claim.ReasonNotValid
	reasonNotSupported = "SourceNotSupported"
	reasonNotCreated   = "ErrClaimNotCreated"
	reasonPrePopulated = dvstatus.ReasonNotFound
	reasonNoCSIDriver  = "NoCSIDriverForExternalPopulation"
	reasonNoAnyVolume  = "NoAnyVolumeDataSource"
)

// quotaRetry is how long it takes until a claim that the quota had no room for is tried again: nothing tells of room.
const quotaRetry = 15 * time.Second

// stuck is why a step cannot go on, for the user. It is not an error of ours: it is shown, and tried again when something
// changes, or after the given time.
type stuck struct {
	dvstatus.Stuck
	retry time.Duration // 0: when something changes
}

func (s *stuck) Error() string { return s.Message }

func stop(reason, message, hint string) error {
	return &stuck{Stuck: dvstatus.Stuck{Reason: reason, Message: message, Hint: hint}}
}

// refused makes what it can of the API's answer to a claim that was to be created.
func refused(name string, err error) error {
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return stop(reasonNotCreated, fmt.Sprintf("create PVC %s: %v", name, err), "none: the namespace is being deleted")
	case exceedsQuota(err):
		return &stuck{
			Stuck: dvstatus.Stuck{
				Reason:  reasonQuota,
				Message: err.Error(),
				Hint:    "delete claims that are not needed, ask for less, or have the ResourceQuota enlarged; it is tried again every 15 s",
			},
			retry: quotaRetry,
		}
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return &stuck{
			Stuck: dvstatus.Stuck{
				Reason:  reasonNotValid,
				Message: fmt.Sprintf("the claim was refused: %v", err),
				Hint:    "delete the DataVolume and create it again with what the message asks for",
			},
			retry: time.Minute,
		}
	}
	return fmt.Errorf("create PVC %s: %w", name, err)
}

// exceedsQuota tells a quota's refusal from others by its text: the API has no other mark for it.
func exceedsQuota(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota")
}

// explain makes what is shown of an error. What passes by itself is not shown: the status would flap.
func explain(err error) *stuck {
	var s *stuck
	if errors.As(err, &s) {
		return s
	}
	var c *claim.Error
	if errors.As(err, &c) {
		return &stuck{Stuck: dvstatus.Stuck{Reason: c.Reason, Message: c.Message, Hint: c.Hint}}
	}
	return nil
}
