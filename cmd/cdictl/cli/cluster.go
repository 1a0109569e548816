package cli

import (
	"github.com/spf13/pflag"

	"github.com/cdictl/cdictl/cmd/internal/kube"
)

// clusterFlags say which cluster, and which namespace of it.
type clusterFlags struct{ kube.Options }

func (k *clusterFlags) register(to *pflag.FlagSet) { grouped(to, groupCluster, k.Register) }

// connect is the cluster that the flags name.
func (a *app) connect(k *clusterFlags) (*kube.Cluster, error) {
	o := k.Options
	o.UserAgent = "cdictl/" + a.build.describe().Version
	o.OnWarning = func(text string) { a.say("warning: " + clean(text)) }
	return kube.Connect(o)
}
