package containerd_test

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox"
)

var exitEndings = []ending{
	{name: "exit 0", script: "exit 0", kind: sandbox.KindSucceeded},
	{name: "exit 1", script: "exit 1", kind: sandbox.KindFailed, code: 1},
	{name: "exit 42 after output", script: "echo hello; exit 42", kind: sandbox.KindFailed, code: 42},
	{name: "exit 255", script: "exit 255", kind: sandbox.KindFailed, code: 255},
	{name: "exit 137, which no signal made", script: "exit 137", kind: sandbox.KindFailed, code: 137, check: exits(func(e sandbox.Exit) bool { return e.Signal == 0 && !e.OOMKilled })},
	{name: "a child fails unheeded", script: "false; true", kind: sandbox.KindSucceeded},
	{
		name: "output is closed", script: "exec >&- 2>&-; exit 3", kind: sandbox.KindFailed, code: 3,
	},
	{
		name: "a process is left behind", script: away + "exit 3", kind: sandbox.KindFailed, code: 3,
		check: exits(func(e sandbox.Exit) bool { return e.Left == 1 }),
	},
	{
		name: "a process is left behind by a success", script: away, kind: sandbox.KindSucceeded,
		check: exits(func(e sandbox.Exit) bool { return e.Left == 1 }),
	},
}

var signalEndings = []ending{
	{name: "SEGV", script: "kill -SEGV $$", kind: sandbox.KindSignal, code: 139, check: exits(func(e sandbox.Exit) bool { return e.Signal == 11 })},
	{name: "ABRT", script: "kill -ABRT $$", kind: sandbox.KindSignal, code: 134},
	{name: "HUP", script: "kill -HUP $$", kind: sandbox.KindSignal, code: 129},
	{name: "TERM of its own", script: "kill -TERM $$", kind: sandbox.KindSignal, code: 143, check: exits(func(e sandbox.Exit) bool { return !e.Stopped })},
	{name: "KILL of its own", script: "kill -KILL $$", kind: sandbox.KindSignal, code: 137, check: exits(func(e sandbox.Exit) bool { return !e.OOMKilled && !e.Killed })},
	{name: "the shell tells of a child's signal", script: "sh -c 'kill -SEGV $$'; exit $?", kind: sandbox.KindFailed, code: 139},
}

var stopEndings = []ending{
	{name: "time-out, TERM obeyed", script: "sleep 3600", step: limit(100*ms, 10*time.Second), kind: sandbox.KindTimedOut, code: 143, check: exits(func(e sandbox.Exit) bool { return !e.Killed })},
	{name: "time-out, TERM handled", script: "trap 'exit 5' TERM; while :; do sleep 0.01; done", step: limit(200*ms, 10*time.Second), kind: sandbox.KindTimedOut, code: 5},
	{name: "time-out, TERM handled as success", script: "trap 'exit 0' TERM; while :; do sleep 0.01; done", step: limit(200*ms, 10*time.Second), kind: sandbox.KindTimedOut},
	{name: "time-out, TERM ignored", script: stubborn, step: limit(100*ms, 100*ms), kind: sandbox.KindTimedOut, code: 137, check: exits(func(e sandbox.Exit) bool { return e.Killed && e.Signal == 9 })},
	{name: "time-out without grace", script: "sleep 3600", step: limit(100*ms, 0), kind: sandbox.KindTimedOut, code: 137, check: exits(func(e sandbox.Exit) bool { return !e.Killed })},
	{name: "time-out of what forks away", script: away + "sleep 3600", step: limit(300*ms, 50*ms), kind: sandbox.KindTimedOut, code: 143, check: exits(func(e sandbox.Exit) bool { return e.Killed && e.Left == 0 })},
	{name: "time-out that never comes", script: "exit 4", step: limit(time.Hour, 0), kind: sandbox.KindFailed, code: 4},
	{name: "stopped, TERM obeyed", script: hang, during: stop(10 * time.Second), kind: sandbox.KindStopped, code: 143},
	{name: "stopped, TERM ignored", script: stubborn, during: stop(50 * ms), kind: sandbox.KindStopped, code: 137, check: exits(func(e sandbox.Exit) bool { return e.Killed })},
	{name: "stopped at once", script: hang, during: stop(0), kind: sandbox.KindStopped, code: 137},
	{name: "stopped, with what forks away", script: away + hang, during: stop(50 * ms), kind: sandbox.KindStopped, code: 143, check: exits(func(e sandbox.Exit) bool { return e.Killed && e.Left == 0 })},
	{
		name: "stopped twice, the second time at once", script: stubborn, kind: sandbox.KindStopped, code: 137,
		during: func(t *testing.T, s *stage) {
			patient := make(chan error, 1)
			go func() { patient <- s.pod.Stop(within(t), "step", time.Hour) }()
			stop(0)(t, s)
			if err := <-patient; err != nil {
				t.Error(err)
			}
		},
	},
}

var startEndings = []ending{
	{name: "no such command", step: argv("no-such-command"), script: "-", kind: sandbox.KindCannotStart, code: 127, check: caused(sandbox.CauseNotFound)},
	{name: "no such path", step: argv("./no/such"), script: "-", kind: sandbox.KindCannotStart, code: 127, check: caused(sandbox.CauseNotFound)},
	{name: "not executable", step: argv("/etc/passwd-"), before: func(t *testing.T, s *stage) { s.sh(t, "touch /etc/passwd-") }, script: "-", kind: sandbox.KindCannotStart, code: 126, check: caused(sandbox.CauseNotExecutable)},
	{name: "a directory", step: argv("/etc"), script: "-", kind: sandbox.KindCannotStart, code: 126, check: caused(sandbox.CauseNotExecutable)},
	{name: "no such interpreter", step: argv("/tmp/x"), before: func(t *testing.T, s *stage) { s.sh(t, "echo '#!/no/such' >/tmp/x; chmod +x /tmp/x") }, script: "-", kind: sandbox.KindCannotStart, code: 126, check: caused(sandbox.CauseNotExecutable)},
	{name: "not a program", step: argv("/tmp/x"), before: func(t *testing.T, s *stage) { s.sh(t, "echo text >/tmp/x; chmod +x /tmp/x") }, script: "-", kind: sandbox.KindCannotStart, code: 126, check: caused(sandbox.CauseNotExecutable)},
	{name: "no such directory", script: "true", step: func(s *sandbox.StepSpec) { s.Dir = "/no/such" }, kind: sandbox.KindCannotStart, code: 126, check: caused(sandbox.CauseDirectory)},
	{name: "no such user", script: "true", step: func(s *sandbox.StepSpec) { s.User = "ghost" }, kind: sandbox.KindCannotStart, code: 126, check: caused(sandbox.CauseUser)},
	{name: "no command at all", step: argv(), script: "-", kind: sandbox.KindCannotStart, code: 126, check: caused(sandbox.CauseInvalid)},
	{name: "arguments too long", step: argv("true", strings.Repeat("x", 1<<20)), script: "-", kind: sandbox.KindCannotStart, code: 126, check: caused(sandbox.CauseTooLong)},
	{
		name: "another step runs", script: "true", kind: sandbox.KindCannotStart, code: 126, check: caused(sandbox.CauseBusy),
		before: func(t *testing.T, s *stage) {
			other := sandbox.StepSpec{ID: "other", Argv: []string{"sleep", "3600"}, Output: s.output}
			if err := s.pod.Start(within(t), other); err != nil {
				t.Fatal(err)
			}
		},
	},
}

func caused(c sandbox.Cause) func(*testing.T, *stage, sandbox.Exit, error) {
	return exits(func(e sandbox.Exit) bool { return e.Cause == c && e.Message != "" })
}

var limitEndings = []ending{
	{name: "out of memory", script: "exec tail /dev/zero", pod: resources(sandbox.Resources{Memory: 64 << 20}), kind: sandbox.KindOutOfMemory, code: 137},
	{name: "a child out of memory", script: "tail /dev/zero; exit 9", pod: resources(sandbox.Resources{Memory: 64 << 20}), kind: sandbox.KindOutOfMemory, code: 9},
	{
		name: "a child out of memory, unheeded", script: "tail /dev/zero; exit 0", pod: resources(sandbox.Resources{Memory: 64 << 20}),
		kind: sandbox.KindSucceeded, check: exits(func(e sandbox.Exit) bool { return e.OOMKilled }),
	},
	{
		name: "out of the step's own memory", script: "exec tail /dev/zero", kind: sandbox.KindOutOfMemory, code: 137,
		step: func(s *sandbox.StepSpec) { s.Resources.Memory = 16 << 20 },
	},
	{
		name: "out of memory after a step that was", script: "exit 7", pod: resources(sandbox.Resources{Memory: 64 << 20}), kind: sandbox.KindFailed, code: 7,
		before: func(t *testing.T, s *stage) { s.sh(t, "tail /dev/zero") },
	},
	{
		name: "the limit of processes", script: "for i in $(seq 60); do sleep 60 & done; wait", pod: resources(sandbox.Resources{PIDs: 20}),
		kind: sandbox.KindProcessLimit, code: 2, check: exits(func(e sandbox.Exit) bool { return e.ForksRefused > 0 && e.Left > 10 }),
	},
	{
		name: "the step's own limit of processes", script: "for i in $(seq 60); do sleep 60 & done; wait", kind: sandbox.KindProcessLimit, code: 2,
		step: func(s *sandbox.StepSpec) { s.Resources.PIDs = 10 },
	},
	{
		name: "no process left for a step", script: "true", pod: resources(sandbox.Resources{PIDs: 20}), kind: sandbox.KindCannotStart, code: 126,
		before: func(t *testing.T, s *stage) {
			for range 4 {
				s.sh(t, "while :; do setsid sleep 3600 & done")
			}
		},
		check: exits(func(e sandbox.Exit) bool {
			return e.Cause == sandbox.CauseProcesses && strings.Contains(e.Message, "left") && strings.Contains(e.Message, "limit of processes")
		}),
	},
	{
		name: "a fork bomb, stopped", script: "(for i in $(seq 150); do setsid sh -c 'trap \"\" TERM; while :; do sleep 0.01 & wait; done' & done) 2>/dev/null & echo ready; exec sleep 3600",
		pod: resources(sandbox.Resources{PIDs: 100}), during: stop(20 * ms), kind: sandbox.KindStopped, code: 143,
		check: exits(func(e sandbox.Exit) bool { return e.Left == 0 }),
	},
}
