package apitest

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// startControllers runs kube-controller-manager with nothing but the named controllers.
func startControllers(bin, kubeconfig string, controllers []string, log io.Writer) (stop func(), err error) {
	path := filepath.Join(bin, "kube-controller-manager")
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("apitest: %w", err)
	}
	cmd := exec.Command(path, //nolint:noctx // it ends with the package's tests, by stop
		"--kubeconfig="+kubeconfig,
		"--controllers="+strings.Join(controllers, ","),
		"--leader-elect=false",
		"--secure-port=0",
		"--kube-api-qps=200", "--kube-api-burst=400",
	)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("apitest: %w", err)
	}
	return func() {
		// It holds no state: there is nothing to finish.
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}, nil
}
