package supervisor

import (
	"os"
	"syscall"

	"github.com/slipway-ci/slipway/agent/supervisor/proto"
)

// A console is a step for somebody who looks into a job's container: its input and output are in the agent's hands. It is confined as every
// step is. Whoever held its other end is gone when the connection to the agent is, so it ends with it.

// furnish gives a console its descriptors in the place of a step's.
func (st *step) furnish(attr *syscall.ProcAttr, output *os.File, stdio []*os.File) {
	switch {
	case st.console == proto.Pipes && len(stdio) == 2:
		attr.Files = []uintptr{stdio[0].Fd(), output.Fd(), stdio[1].Fd()}
	case st.console == proto.Terminal:
		// As login(1) does, so that programs can open it by its name. It may belong to root of another user namespace, who can't give it away.
		if c := attr.Sys.Credential; c != nil && c.Uid != 0 {
			_ = output.Chown(int(c.Uid), -1)
		}
		attr.Files = []uintptr{output.Fd(), output.Fd(), output.Fd()}
		attr.Sys.Setctty, attr.Sys.Ctty = true, 0
	}
}

// endConsoles ends those that run. Called with mu held.
func (s *Supervisor) endConsoles() {
	for _, st := range s.byPID {
		if st.console != "" {
			s.terminate(st, st.grace)
		}
	}
}
