package process

import (
	"context"
	"fmt"
	"os"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/console"
)

var _ sandbox.Consoles = (*Pod)(nil)

// Console implements sandbox.Consoles.
func (p *Pod) Console(ctx context.Context, spec sandbox.StepSpec, terminal bool) (*sandbox.Console, error) {
	if err := checkID("step", spec.ID); err != nil {
		return nil, err
	}
	if err := p.waitReady(ctx); err != nil {
		return nil, err
	}
	if !p.sup.Consoles() {
		return nil, sandbox.ErrConsole
	}
	ends, err := hostEnds(terminal)
	if err != nil {
		return nil, fmt.Errorf("pod %s: %w", p.id, err)
	}
	if err := p.begin(ctx, spec, ends); err != nil {
		ends.Close()
		return nil, err
	}
	ends.CloseTheirs()
	return ends.Ours, nil
}

func hostEnds(terminal bool) (*console.Ends, error) {
	if !terminal {
		return console.Pipes()
	}
	root, err := os.Open("/")
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return console.Terminal(root, "dev/ptmx", 0, true)
}
