package containerd

import (
	"context"
	"fmt"
	"os"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/console"
	"github.com/slipway-ci/slipway/agent/sandbox/procid"
)

var _ sandbox.Consoles = (*Pod)(nil)

// Console implements sandbox.Consoles.
func (p *Pod) Console(ctx context.Context, spec sandbox.StepSpec, terminal bool) (*sandbox.Console, error) {
	if err := checkID("step", spec.ID); err != nil {
		return nil, err
	}
	if spec.Image != "" {
		select {
		case <-p.dead: // even if the annex lives: the pod is lost as a whole
			return nil, p.lost()
		default:
		}
		box, err := p.annexes.of(ctx, spec.Image)
		if err != nil {
			return nil, fmt.Errorf("pod %s: %w", p.id, err)
		}
		spec.Image = ""
		return box.Console(ctx, spec, terminal)
	}
	if err := p.waitReady(ctx); err != nil {
		return nil, err
	}
	if !p.sup.Consoles() {
		return nil, sandbox.ErrConsole
	}
	ends, err := p.ends(terminal)
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

func (p *Pod) ends(terminal bool) (*console.Ends, error) {
	if !terminal {
		return console.Pipes()
	}
	// The container's own devpts, so that its programs can name the terminal.
	root, err := os.Open(fmt.Sprintf("/proc/%d/root", p.state.Init.PID))
	if err != nil {
		return nil, fmt.Errorf("entering the container: %w", err)
	}
	defer root.Close()
	if !p.state.Init.Alive() { // asked after opening, so it is not that of another process
		return nil, fmt.Errorf("entering the container: %w", procid.ErrGone)
	}
	owner := 0
	if p.state.IDs.enabled() {
		owner = int(p.state.IDs.First)
	}
	return console.Terminal(root, "dev/pts/ptmx", owner, false)
}
