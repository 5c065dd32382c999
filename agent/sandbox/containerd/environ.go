package containerd

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/supervisor/proto"
)

// hideEnv gives a service variables that stand in no record of its container: a file that is mounted into it, and goes with the pod. The
// supervisor's program reads it there, and becomes the service's command. Whoever may run commands in the container can read it, as they can
// the environment of its processes.
func (s *Sandbox) hideEnv(m *making, c *container, entries []string) error {
	if len(entries) == 0 {
		return nil
	}
	data, err := json.Marshal(entries)
	if err != nil {
		return fmt.Errorf("its environment: %w", err)
	}
	path := m.dir.environ(c.name)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o444)
	if err != nil {
		return fmt.Errorf("its environment: %w", err)
	}
	_, err = f.Write(data)
	// Its user in the container may be any; on the host only root passes the directories above.
	if err := errors.Join(err, f.Chmod(0o444), f.Close()); err != nil {
		return fmt.Errorf("its environment: %w", err)
	}
	c.mounts = append(c.mounts, bind(s.supervisor(), proto.Binary, true), bind(path, proto.EnvironFile, true))
	c.args = append(slices.Clone(hidden), c.args...)
	return nil
}

// hidden begins the command of a service whose environment is hidden.
var hidden = []string{proto.Binary, proto.Become, proto.EnvironFile}

// asIn returns a command as a service's own process would run it: with its hidden environment, if it has one.
func asIn(service, command []string) []string {
	if len(service) > len(hidden) && slices.Equal(service[:len(hidden)], hidden) {
		return append(slices.Clone(hidden), command...)
	}
	return command
}

// auth is what the registry of one of the pod's images is shown; nil is what the host has for it.
func (p *making) auth(ref string) *sandbox.RegistryAuth {
	if p.spec.Image == ref && p.spec.Auth != nil {
		return p.spec.Auth
	}
	for _, svc := range p.spec.Services {
		if svc.Image == ref && svc.Auth != nil {
			return svc.Auth
		}
	}
	return nil
}
