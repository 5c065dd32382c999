package web

import (
	"bytes"
	"context"
	"fmt"
	"html/template"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/internal/tui"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// Bounds of summaries: of one page, and of one job.
const (
	maxSummaryJobs  = 64
	maxSummaryBytes = 256 << 10
)

// summary is what a step wrote to GITHUB_STEP_SUMMARY.
type summary struct {
	Job, Step string
	HTML      template.HTML
	Cut       bool
}

// runSummaries are those of the jobs that have ended.
func (s *site) runSummaries(ctx context.Context, run *apiv1.Run) []summary {
	var out []summary
	asked := 0
	for _, j := range run.GetJobs() {
		if !jobEnded(j) || len(j.GetSteps()) == 0 || asked == maxSummaryJobs {
			continue
		}
		asked++
		all, err := s.jobSummaries(ctx, run.GetId(), j)
		if err != nil {
			// The page is worth more than its summaries.
			s.Log.Warn("a job's summaries could not be read", "run", run.GetId(), "job", j.GetId(), "error", err)
		}
		out = append(out, all...)
	}
	return out
}

// jobSummaries reads them where the agent puts them, after masking: at the end of the log of the job's last step.
func (s *site) jobSummaries(ctx context.Context, run string, j *apiv1.Job) ([]summary, error) {
	last := j.GetSteps()[len(j.GetSteps())-1].GetNumber()
	var text bytes.Buffer
	cut := false
	err := s.readLogs(ctx, &apiv1.StreamLogsRequest{RunId: run, JobId: j.GetId(), AttemptId: j.GetAttemptId(), Step: &last, Tail: maxSummaryBytes}, func(m *apiv1.StreamLogsResponse) error {
		cut = cut || text.Len() == 0 && m.GetOffset() > 0
		text.Write(m.GetData())
		return nil
	})
	if err != nil {
		return nil, err
	}
	return splitSummaries(j, text.String(), cut), nil
}

// splitSummaries finds "Summary of step N, NAME:" of each step that the job has, in their order. What follows is the summary, up to the next.
func splitSummaries(j *apiv1.Job, log string, cut bool) []summary {
	heads := map[string]*corev1.StepStatus{}
	for _, st := range j.GetSteps() {
		heads[fmt.Sprintf("Summary of step %d, %s:", st.GetNumber(), st.GetName())] = st
	}
	var out []summary
	var body []string
	var at *corev1.StepStatus
	flush := func() {
		if at != nil {
			out = append(out, summary{Job: tui.JobName(j), Step: at.GetName(), HTML: markdown(strings.Join(body, "\n"))})
		}
		body = nil
	}
	for line := range strings.SplitSeq(log, "\n") {
		if st := heads[strings.TrimSuffix(line, "\r")]; st != nil && (at == nil || st.GetNumber() > at.GetNumber()) {
			flush()
			at = st
			continue
		}
		if at != nil {
			body = append(body, line)
		}
	}
	flush()
	if cut && len(out) > 0 {
		out[0].Cut = true
	}
	return slices.Clip(out)
}
