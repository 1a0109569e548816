package manager

import (
	"fmt"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/cdictl/cdictl/cmd/agent/internal/admission"
	"github.com/cdictl/cdictl/cmd/agent/internal/certs"
	"github.com/cdictl/cdictl/cmd/agent/internal/controller/cdiconfig"
	"github.com/cdictl/cdictl/cmd/agent/internal/controller/datavolume"
	"github.com/cdictl/cdictl/cmd/agent/internal/controller/population"
	"github.com/cdictl/cdictl/cmd/agent/internal/controller/storageprofile"
)

// wire adds what the manager is for.
func wire(mgr ctrl.Manager, o Options) error {
	issuer, ready, err := certs.Add(mgr, certs.Options{Namespace: o.Namespace})
	if err != nil {
		return err
	}
	if err := admission.Add(mgr); err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	if err := webhookCheck(mgr, ready); err != nil {
		return err
	}
	if err := storageprofile.Add(mgr, storageprofile.Options{}); err != nil {
		return err
	}
	if err := cdiconfig.Add(mgr, cdiconfig.Options{}); err != nil {
		return err
	}
	if err := datavolume.Add(mgr, datavolume.Options{SkipNameValidation: o.SameProcess}); err != nil {
		return err
	}
	return population.Add(mgr, population.Options{Image: o.WorkerImage, Namespace: o.Namespace, Certs: issuer})
}
