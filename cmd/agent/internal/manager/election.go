package manager

import (
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// lease is what the managers of a namespace elect their leader by. Its requests do not queue behind those of controllers,
// and unlike controller-runtime's own it tells of no events: nobody reads them, and a right to make them would be one more.
func lease(cfg *rest.Config, o Options) (resourcelock.Interface, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("leader election: %w", err)
	}
	// A pod's name is its host's; the rest is for a container that was started again.
	identity := resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID())}
	lock, err := resourcelock.NewFromKubeconfig(resourcelock.LeasesResourceLock, o.Namespace, cdi.Lease, identity, cfg, o.Renew)
	if err != nil {
		return nil, fmt.Errorf("leader election: %w", err)
	}
	return lock, nil
}
