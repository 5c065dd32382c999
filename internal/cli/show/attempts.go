package show

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/internal/tui"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// wordOf is a run's state, and whether it succeeded only on retry.
func wordOf(r *apiv1.Run) string {
	if r.GetFlaky() {
		return tui.RunWord(r.GetState()) + " (flaky)"
	}
	return tui.RunWord(r.GetState())
}

// try is one line about an attempt of a job that has ended.
func try(t *corev1.Try) string {
	s := fmt.Sprintf("attempt %d", t.GetNumber())
	if t.GetRunAttempt() > 1 {
		s += fmt.Sprintf(" (of the run's attempt %d)", t.GetRunAttempt())
	}
	s += " " + safe(t.GetEnding())
	if t.GetAgent() != "" {
		s += " on " + safe(t.GetAgent())
	}
	if t.GetOfferedMs() > 0 && t.GetEndedMs() >= t.GetOfferedMs() {
		s += " after " + (time.Duration(t.GetEndedMs()-t.GetOfferedMs()) * time.Millisecond).Round(time.Millisecond).String()
	}
	if t.GetReason() != "" {
		s += ": " + safe(t.GetReason())
	}
	return s
}

// Cancelled says what a cancellation came to. whole: not of one attempt alone.
func Cancelled(w io.Writer, r *apiv1.Run, whole bool) error {
	p := &printer{w: w}
	if r.GetEndedMs() != 0 {
		p.f("run %s has ended: %s", tui.Number(r), wordOf(r))
	} else {
		p.f("run %s is asked to end", tui.Number(r))
	}
	if whole && r.GetAttempt() > 1 {
		p.f("whatever its earlier attempts held is let go")
	}
	return p.err
}

// Rerun says which attempt was begun.
func Rerun(w io.Writer, r *apiv1.RerunRunResponse, json bool) error {
	if json {
		return Message(w, r)
	}
	_, err := fmt.Fprintln(w, r.GetRunId())
	return err
}

// Demand writes a table of what queued jobs ask for.
func Demand(w io.Writer, all []*apiv1.Demand) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(w, "no job waits for an agent")
		return err
	}
	var rows [][]string
	for _, d := range all {
		pools := strings.Join(d.GetPools(), ",")
		if pools == "" {
			pools = "any"
		}
		rows = append(rows, []string{safe(pools), safe(strings.Join(d.GetLabels(), ",")), fmt.Sprint(d.GetJobs()), cores(d.GetCpuMilli()), size(d.GetMemory()),
			cores(d.GetMaxCpuMilli()), size(d.GetMaxMemory()), (time.Duration(d.GetOldestWaitMs()) * time.Millisecond).Round(time.Second).String()})
	}
	return table(w, "POOLS LABELS SLOTS CPU MEMORY LARGEST-CPU LARGEST-MEMORY OLDEST", rows)
}
