package sandboxtest

import (
	"context"
	"fmt"
	"slices"

	"github.com/slipway-ci/slipway/agent/sandbox/fake"
)

// Program is a step of the suite: a shell script for real containers, a function for the fake.
type Program struct {
	Script string
	Func   fake.Func
}

// Argv runs it.
func (p Program) Argv() []string { return []string{"sh", "-c", p.Script} }

// RunProgram is the Func of a fake on which the suite runs.
func RunProgram(ctx context.Context, s fake.Step) int {
	for _, p := range []Program{hello, fail, appendOne, count, stubborn, polite, forever} {
		if slices.Equal(s.Argv, p.Argv()) {
			return p.Func(ctx, s)
		}
	}
	return 127
}

const lines = 300

var (
	// hello shows its environment and writes to both streams.
	hello = Program{
		Script: `echo $FROM_POD $BOTH; echo to stderr >&2`,
		Func: func(_ context.Context, s fake.Step) int {
			fmt.Fprintln(s.Out, "pod step\nto stderr")
			return 0
		},
	}
	fail = Program{Script: `echo failing; exit 42`, Func: func(_ context.Context, s fake.Step) int {
		fmt.Fprintln(s.Out, "failing")
		return 42
	}}
	appendOne = Program{Script: `echo one`, Func: func(_ context.Context, s fake.Step) int {
		fmt.Fprintln(s.Out, "one")
		return 0
	}}
	// count writes numbered lines for long enough to be cut off from its agent, and ends with code 5.
	count = Program{
		Script: fmt.Sprintf(`i=0; while [ $i -lt %d ]; do echo line $i; i=$((i+1)); sleep 0.003; done; exit 5`, lines),
		Func: func(_ context.Context, s fake.Step) int {
			for i := range lines {
				fmt.Fprintf(s.Out, "line %d\n", i)
			}
			return 5
		},
	}
	// stubborn ignores TERM.
	stubborn = Program{
		Script: `trap '' TERM; echo ready; while :; do sleep 0.01; done`,
		Func: func(ctx context.Context, s fake.Step) int {
			fmt.Fprintln(s.Out, "ready")
			<-ctx.Done()
			return 137
		},
	}
	// polite ends with code 9 on TERM.
	polite = Program{
		Script: `trap 'echo bye; exit 9' TERM; echo ready; while :; do sleep 0.01; done`,
		Func: func(ctx context.Context, s fake.Step) int {
			fmt.Fprintln(s.Out, "ready")
			select {
			case <-s.Term:
				fmt.Fprintln(s.Out, "bye")
				return 9
			case <-ctx.Done():
				return 137
			}
		},
	}
	// forever has no handler.
	forever = Program{Script: `echo ready; exec sleep 3600`, Func: func(ctx context.Context, s fake.Step) int {
		fmt.Fprintln(s.Out, "ready")
		return s.Default(ctx)
	}}
)
