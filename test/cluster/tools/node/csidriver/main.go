// Command csidriver is a CSI driver for a cluster of one node, for tests. A volume is a sparse file in the folder of a
// pool, a loop device makes it a disk, and a Filesystem volume carries ext4 or xfs. On a pool whose filesystem can
// reflink, snapshots and clones share their blocks. One process serves the identity, controller and node services and
// registers with the kubelet; package faults tells how calls are made slow or made to fail.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/cdictl/cdictl/test/cluster/tools/node/csidriver/faults"
)

type driver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedControllerServer
	csi.UnimplementedNodeServer
	registration.UnimplementedRegistrationServer

	name, node, socket string
	maxBytes           int64
	pools              map[string]string // folder by name
	store              *store
	locks              locks // by name or id of a volume or snapshot
}

// A pool's folder, as -pool NAME=DIR. The first one is for classes that name none.
type poolFlag struct{ d *driver }

func (poolFlag) String() string { return "" }

func (p poolFlag) Set(s string) error {
	name, dir, ok := strings.Cut(s, "=")
	if !ok || name == "" || dir == "" {
		return fmt.Errorf("want NAME=DIR")
	}
	if len(p.d.pools) == 0 {
		p.d.pools[""] = dir
	}
	p.d.pools[name] = dir
	return os.MkdirAll(dir, 0o750)
}

func main() {
	d := &driver{pools: map[string]string{}}
	flag.StringVar(&d.name, "name", "", "name of the driver")
	flag.StringVar(&d.node, "node", "", "name of the node")
	flag.StringVar(&d.socket, "socket", "", "socket to serve on")
	flag.Int64Var(&d.maxBytes, "max-volume-bytes", 1<<40, "largest volume")
	flag.Var(poolFlag{d}, "pool", "NAME=DIR, where volumes lie; more than once")
	stateFile := flag.String("state", "", "file that remembers volumes and snapshots")
	faultDir := flag.String("faults", "", "folder of fault rules; empty: none")
	register := flag.String("registration", "", "kubelet's socket for plugins; empty: none")
	flag.Parse()
	if d.name == "" || d.node == "" || d.socket == "" || *stateFile == "" || len(d.pools) == 0 {
		log.Fatal("-name, -node, -socket, -state and -pool are needed")
	}

	var err error
	if d.store, err = openStore(*stateFile); err != nil {
		log.Fatal(err)
	}
	if err := d.recover(); err != nil {
		log.Fatal(err)
	}
	rules := &faults.Rules{Dir: *faultDir, Claim: d.claim}
	server := grpc.NewServer(grpc.ChainUnaryInterceptor(logCall, rules.Intercept))
	csi.RegisterIdentityServer(server, d)
	csi.RegisterControllerServer(server, d)
	csi.RegisterNodeServer(server, d)
	l, err := listen(d.socket)
	if err != nil {
		log.Fatal(err)
	}
	failed := make(chan error)
	if *register != "" {
		registrar := grpc.NewServer(grpc.UnaryInterceptor(logCall))
		registration.RegisterRegistrationServer(registrar, d)
		rl, err := listen(*register)
		if err != nil {
			log.Fatal(err)
		}
		go func() { failed <- registrar.Serve(rl) }()
	}
	go func() { failed <- server.Serve(l) }()
	log.Fatal(<-failed)
}

func listen(socket string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o750); err != nil {
		return nil, err
	}
	if err := os.Remove(socket); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	return net.Listen("unix", socket)
}

func logCall(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	began := time.Now()
	resp, err := next(ctx, req)
	if m := path.Base(info.FullMethod); m != "Probe" && !strings.HasSuffix(m, "Capabilities") {
		log.Printf("%s %v: %v", m, time.Since(began).Round(time.Millisecond), err)
	}
	return resp, err
}

// GetInfo tells the kubelet where the driver serves.
func (d *driver) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{
		Type: registration.CSIPlugin, Name: d.name, Endpoint: d.socket, SupportedVersions: []string{"1.0.0"},
	}, nil
}

func (d *driver) NotifyRegistrationStatus(_ context.Context, s *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	log.Printf("registered with the kubelet: %v %s", s.PluginRegistered, s.Error)
	return &registration.RegistrationStatusResponse{}, nil
}
