package show

import (
	"fmt"
	"io"
	"strings"

	"github.com/slipway-ci/slipway/internal/tui"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// Why prints why a run's jobs wait, were skipped, were tried again or failed.
func Why(w io.Writer, why *apiv1.WhyRunResponse) error {
	var b strings.Builder
	line := func(format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		rest := strings.TrimLeft(text, " ")
		b.WriteString(text[:len(text)-len(rest)] + tui.Clean(rest) + "\n")
	}
	state := strings.ToLower(strings.TrimPrefix(why.GetState().String(), "RUN_STATE_"))
	line("run #%d %s", why.GetRunNumber(), join(state, why.GetReason()))
	for _, j := range why.GetJobs() {
		line("")
		line("%s: %s", j.GetName(), join(strings.ToLower(strings.TrimPrefix(j.GetState().String(), "JOB_STATE_")), j.GetReason()))
		if j.GetRemedy() != "" {
			line("  helps    %s", j.GetRemedy())
		}
		for _, t := range j.GetTries() {
			line("  earlier  %s", try(t))
		}
		if j.GetRetried() != "" && j.GetRetried() != j.GetReason() {
			line("  attempt  %d: %s", j.GetAttempt(), j.GetRetried())
		}
		if j.GetCondition() != "" {
			line("  if       %s", j.GetCondition())
		}
		for _, n := range j.GetNeeds() {
			line("  needs    %s, %s", n.GetJobId(), join(strings.ToLower(strings.TrimPrefix(n.GetState().String(), "JOB_STATE_")), n.GetReason()))
		}
		for _, a := range j.GetAhead() {
			line("  ahead    %d of project %s (weight %d, %d at work)", a.GetJobs(), a.GetProject(), a.GetWeight(), a.GetRunning())
		}
		for _, r := range j.GetRefusals() {
			line("  agent    %s %s [%s]", r.GetHostname(), r.GetReason(), r.GetPredicate())
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func join(state, reason string) string {
	if reason == "" {
		return state
	}
	return state + ": " + reason
}
