package show

import (
	"fmt"
	"io"
	"strings"
	"time"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// agentState is online, absent or offline, and whether it drains.
func agentState(a *apiv1.Agent) string {
	state := a.GetState()
	if a.GetDrain() != nil {
		state += "," + a.GetSchedule()
	}
	if len(a.GetProblems()) > 0 {
		state += ",degraded"
	}
	return state
}

// Agent writes all that is known of one agent.
func Agent(w io.Writer, a *apiv1.Agent, now time.Time) error {
	p := &printer{w: w}
	p.f("%s  %s", safe(a.GetHostname()), agentState(a))
	p.f("  id        %s", a.GetId())
	p.f("  pool      %s", safe(a.GetPool()))
	if len(a.GetLabels()) > 0 {
		p.f("  labels    %s", safe(strings.Join(a.GetLabels(), ", ")))
	}
	p.f("  version   %s", safe(a.GetVersion()))
	p.f("  joined    %s", ago(a.GetJoinedMs(), now))
	p.f("  seen      %s", ago(a.GetLastSeenMs(), now))
	if a.GetSlots() > 0 {
		p.f("  slots     %d of %d in use", a.GetSlotsUsed(), a.GetSlots())
		p.f("  cpu       %s of %s reserved", cores(a.GetCpuUsedMilli()), cores(a.GetCpuMilli()))
		p.f("  memory    %s of %s reserved", size(a.GetMemoryUsed()), size(a.GetMemory()))
	}
	if a.GetDiskFree() > 0 {
		p.f("  disk      %s free", size(a.GetDiskFree()))
	}
	if a.GetWhy() != "" {
		p.f("  no work   it %s", safe(a.GetWhy()))
	}
	if d := a.GetDrain(); d.GetDeadlineMs() != 0 && d.GetDrainedMs() == 0 {
		p.f("  deadline  %s", deadline(d, now))
	}
	for _, problem := range a.GetProblems() {
		p.f("  problem   %s", safe(problem))
	}
	if len(a.GetWork()) > 0 {
		p.f("")
	}
	for _, j := range a.GetWork() {
		line := fmt.Sprintf("%s of run #%d  %s  %s", safe(j.GetJobName()), j.GetRunNumber(), attemptWord(j.GetState()), took(j.GetOfferedMs(), 0, now))
		if j.GetHeldUntilMs() != 0 {
			line = fmt.Sprintf("%s of run #%d  failed, held until %s: %s", safe(j.GetJobName()), j.GetRunNumber(), clock(j.GetHeldUntilMs(), now), debugCommand(j.GetRunId(), j.GetJobId()))
		}
		if j.GetAttempt() > 1 {
			line += fmt.Sprintf("  attempt %d", j.GetAttempt())
		}
		p.f("%s", line)
	}
	return p.err
}

// Drained writes what a drain or its end came to.
func Drained(w io.Writer, a *apiv1.Agent, now time.Time) error {
	p := &printer{w: w}
	name := fmt.Sprintf("agent %s (%s)", a.GetId(), safe(a.GetHostname()))
	d := a.GetDrain()
	switch {
	case d == nil:
		p.f("%s takes work again", name)
	case d.GetDrainedMs() != 0:
		p.f("%s is drained: nothing runs there", name)
	default:
		p.f("%s drains: it is given no new work, %d jobs go on", name, len(a.GetWork()))
		if d.GetDeadlineMs() != 0 {
			p.f("  deadline  %s", deadline(d, now))
		}
	}
	return p.err
}

// deadline says what an operator's drain does to what still runs, and an agent's own does not.
func deadline(d *apiv1.AgentDrain, now time.Time) string {
	then, late := "what still runs is cancelled then", "what still ran is being cancelled"
	if d.GetOwn() {
		then, late = "the agent leaves then, and what still runs lives on", "the agent leaves, and what still ran lives on"
	}
	at := time.UnixMilli(d.GetDeadlineMs())
	if left := at.Sub(now); left > 0 {
		return fmt.Sprintf("in %s: %s", left.Round(time.Second), then)
	}
	return fmt.Sprintf("passed at %s: %s", at.Format(time.RFC3339), late)
}

func cores(milli int64) string { return fmt.Sprintf("%.1f", float64(milli)/1000) }

func attemptWord(s corev1.AttemptState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "ATTEMPT_STATE_"))
}
