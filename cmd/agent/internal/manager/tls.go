package manager

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync/atomic"

	toolscache "k8s.io/client-go/tools/cache"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// tlsProfile is what CDIConfig's tlsSecurityProfile demands of the manager's servers, followed while they run.
type tlsProfile struct{ current atomic.Pointer[tlsLimits] }

type tlsLimits struct {
	min     uint16
	ciphers []uint16 // of TLS 1.2 and below; nil: Go's choice
}

// options are for a server. Each connection is held to the profile of the moment.
func (p *tlsProfile) options() []func(*tls.Config) {
	return []func(*tls.Config){func(c *tls.Config) {
		c.MinVersion = tls.VersionTLS12
		c.NextProtos = []string{"http/1.1"} // HTTP/2 lets a client make a server work for it cheaply
		c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			limits := p.current.Load()
			if limits == nil {
				return nil, nil // as the server was made
			}
			strict := c.Clone()
			strict.GetConfigForClient = nil
			strict.MinVersion, strict.CipherSuites = limits.min, limits.ciphers
			return strict, nil
		}
	}}
}

// follow watches the CDIConfig in every replica.
func (p *tlsProfile) follow(mgr ctrl.Manager) error {
	set := func(o any) {
		if config, ok := o.(*cdiv1.CDIConfig); ok && config.Name == cdi.ConfigName {
			p.current.Store(limitsOf(config.Spec.TLSSecurityProfile))
		}
	}
	err := mgr.Add(everyReplica(func(ctx context.Context) error {
		informer, err := mgr.GetCache().GetInformer(ctx, &cdiv1.CDIConfig{})
		if err != nil {
			return fmt.Errorf("watch CDIConfig %s: %w", cdi.ConfigName, err)
		}
		_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc:    set,
			UpdateFunc: func(_, o any) { set(o) },
			DeleteFunc: func(any) { p.current.Store(nil) },
		})
		if err != nil {
			return fmt.Errorf("watch CDIConfig %s: %w", cdi.ConfigName, err)
		}
		<-ctx.Done()
		return nil
	}))
	if err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	return nil
}

// limitsOf a profile; nil for none. A custom one that names nothing this program can do leaves the ciphers to Go, which
// has no weak ones by default.
func limitsOf(profile *cdiv1.TLSSecurityProfile) *tlsLimits {
	if profile == nil {
		return nil
	}
	spec := cdiv1.TLSProfiles[profile.Type]
	if profile.Type == cdiv1.TLSProfileCustomType && profile.Custom != nil {
		spec = &profile.Custom.TLSProfileSpec
	}
	if spec == nil {
		spec = cdiv1.TLSProfiles[cdiv1.TLSProfileIntermediateType]
	}
	l := &tlsLimits{min: tls.VersionTLS12}
	switch spec.MinTLSVersion {
	case cdiv1.VersionTLS10:
		l.min = tls.VersionTLS10
	case cdiv1.VersionTLS11:
		l.min = tls.VersionTLS11
	case cdiv1.VersionTLS13:
		l.min = tls.VersionTLS13
	}
	for _, name := range spec.Ciphers {
		if id, ok := ciphers[name]; ok {
			l.ciphers = append(l.ciphers, id)
		}
	}
	return l
}

// ciphers by the names that OpenSSL has for them, as far as Go has them. Those of TLS 1.3 cannot be chosen.
var ciphers = map[string]uint16{
	"ECDHE-ECDSA-AES128-GCM-SHA256": tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-RSA-AES128-GCM-SHA256":   tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-ECDSA-AES256-GCM-SHA384": tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-RSA-AES256-GCM-SHA384":   tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-ECDSA-CHACHA20-POLY1305": tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-RSA-CHACHA20-POLY1305":   tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-ECDSA-AES128-SHA256":     tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256,
	"ECDHE-RSA-AES128-SHA256":       tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256,
	"ECDHE-ECDSA-AES128-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
	"ECDHE-RSA-AES128-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
	"ECDHE-ECDSA-AES256-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
	"ECDHE-RSA-AES256-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	"AES128-GCM-SHA256":             tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
	"AES256-GCM-SHA384":             tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
	"AES128-SHA256":                 tls.TLS_RSA_WITH_AES_128_CBC_SHA256,
	"AES128-SHA":                    tls.TLS_RSA_WITH_AES_128_CBC_SHA,
	"AES256-SHA":                    tls.TLS_RSA_WITH_AES_256_CBC_SHA,
	"DES-CBC3-SHA":                  tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA,
}
