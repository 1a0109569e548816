package manager

import (
	"fmt"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/cdictl/cdictl/cmd/agent/internal/admission"
	"github.com/cdictl/cdictl/cmd/agent/internal/certs"
	"github.com/cdictl/cdictl/cmd/agent/internal/controller/cdiconfig"
	"github.com/cdictl/cdictl/cmd/agent/internal/controller/storageprofile"
)

// wire adds what the manager is for.
func wire(mgr ctrl.Manager, o Options) error {
	if _, _, err := certs.Add(mgr, certs.Options{Namespace: o.Namespace}); err != nil {
		return err
	}
	if err := admission.Add(mgr); err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	if err := storageprofile.Add(mgr, storageprofile.Options{}); err != nil {
		return err
	}
	return cdiconfig.Add(mgr, cdiconfig.Options{})
}
