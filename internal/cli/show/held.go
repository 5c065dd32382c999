package show

import (
	"fmt"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/internal/tui"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

func isHeld(j *apiv1.Job) bool { return j.GetHeld() != nil && j.GetHeld().GetReleasedMs() == 0 }

// debugCommand is what to type to enter a held job. The run's number alone would mean its newest attempt, which may be another one.
func debugCommand(run, job string) string {
	return fmt.Sprintf("slipway debug %s %s", quote(run), quote(job))
}

// quote makes an argument safe for a shell.
func quote(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/", r)
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(safe(s), "'", `'\''`) + "'"
}

// clock is a time of day, with the day if that is another one.
func clock(ms int64, now time.Time) string {
	t := time.UnixMilli(ms).In(now.Location())
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format(time.TimeOnly)
	}
	return t.Format(time.DateTime)
}

// held says that a job's pod is held, and who was in it.
func (p *printer) held(j *apiv1.Job, run string, now time.Time) {
	if j.GetHeld() == nil {
		return
	}
	if isHeld(j) {
		p.f("    held until %s: %s", clock(j.GetHeld().GetUntilMs(), now), debugCommand(run, j.GetId()))
	} else {
		p.f("    was held until %s: %s", clock(j.GetHeld().GetReleasedMs(), now), safe(j.GetHeld().GetReleased()))
	}
	for _, s := range j.GetDebugSessions() {
		p.session(s, now)
	}
}

func (p *printer) session(s *corev1.DebugSession, now time.Time) {
	what := "a shell"
	if len(s.GetCommand()) > 0 {
		what = safe(strings.Join(s.GetCommand(), " "))
	}
	how := "goes on"
	if s.GetEndedMs() != 0 {
		how = fmt.Sprintf("exit code %d, %s in, %s out", s.GetExitCode(), size(s.GetBytesIn()), size(s.GetBytesOut()))
		if s.GetEnded() != "" {
			how += ", " + safe(s.GetEnded())
		}
	}
	p.f("      %s %s ran %s for %s: %s", clock(s.GetStartedMs(), now), safe(s.GetUser()), what, took(s.GetStartedMs(), s.GetEndedMs(), now), how)
}

// heldJobs says at the end of a run which pods of it can be entered.
func (p *printer) heldJobs(r *apiv1.Run, now time.Time) {
	for _, j := range r.GetJobs() {
		if isHeld(j) {
			p.f("  %s: its pod is held until %s: %s", tui.JobName(j), clock(j.GetHeld().GetUntilMs(), now), debugCommand(tui.Number(r), j.GetId()))
		}
	}
}
