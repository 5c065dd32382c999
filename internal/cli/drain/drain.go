// Package drain waits until an agent has nothing to do any more.
package drain

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/internal/cli/exit"
	"github.com/slipway-ci/slipway/internal/tui"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// API is what Wait needs of sdk/client.
type API interface {
	Agent(ctx context.Context, name string) (*apiv1.Agent, error)
}

// every is the time between two looks.
const every = 500 * time.Millisecond

// Wait returns the agent once it is drained. What it still has is told on progress, whenever that changes. An agent that somebody resumes
// meanwhile is an error.
func Wait(ctx context.Context, api API, agent *apiv1.Agent, progress io.Writer) (*apiv1.Agent, error) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for last := ""; ; {
		switch {
		case agent.GetDrain() == nil:
			return agent, exit.Systemf("agent %s was resumed while this waited for it to be drained", agent.GetId())
		case agent.GetDrain().GetDrainedMs() != 0:
			return agent, nil
		}
		if now := waiting(agent); now != last {
			last = now
			if _, err := fmt.Fprintln(progress, now); err != nil {
				return agent, err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return agent, ctx.Err()
		}
		var err error
		if agent, err = api.Agent(ctx, agent.GetId()); err != nil {
			return nil, err
		}
	}
}

func waiting(agent *apiv1.Agent) string {
	if len(agent.GetWork()) == 0 {
		return "waiting for the agent to clean up"
	}
	var jobs []string
	for _, w := range agent.GetWork() {
		jobs = append(jobs, fmt.Sprintf("%s of run #%d", tui.Clean(w.GetJobName()), w.GetRunNumber()))
	}
	return fmt.Sprintf("waiting for %s", strings.Join(jobs, ", "))
}
