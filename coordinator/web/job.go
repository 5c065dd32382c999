package web

import (
	"context"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/internal/rpcerr"
	"github.com/slipway-ci/slipway/internal/tui"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// Bounds of what a job's page shows of its logs at first: of all steps, and of one.
const (
	pageBytes    = 1 << 20
	mostOfStep   = 128 << 10
	leastOfStep  = 4 << 10
	maxStepsOpen = 400
)

type jobView struct {
	User    string
	RunID   string
	RunName string
	RunHref string
	Live    bool
	Events  string
	NowMS   int64
	Head    jobHead
	Notes   []note
	Steps   []stepView
	// Gone says why there is no log.
	Gone      string
	Summaries []summary
	Outputs   []output
}

type jobHead struct {
	jobRow
	Agent    string
	Needs    []string
	Attempts []attemptRow
	Earlier  bool
}

type output struct{ Name, Value string }

// attemptRow is one attempt of the job.
type attemptRow struct {
	Text, Href, Ending, Reason string
	Current                    bool
}

type stepView struct {
	look
	Number  uint32
	Name    string
	Took    span
	Facts   []string
	Trouble *trouble
	Open    bool
	Raw     string
	Log     logPart
}

// logPart is a piece of a step's log.
type logPart struct {
	// Earlier leads to what comes before, of which there is EarlierSize.
	Earlier, EarlierSize string
	Lines                template.HTML
	From, To             int64
}

func findJob(run *apiv1.Run, id string) (*apiv1.Job, error) {
	for _, j := range run.GetJobs() {
		if j.GetId() == id {
			return j, nil
		}
	}
	return nil, rpcerr.New(rpcerr.NotFound, "run %s has no job %.100q", run.GetId(), id)
}

// jobOf reads the run and the job that a path names.
func (s *site) jobOf(r *http.Request) (*apiv1.Run, *apiv1.Job, error) {
	run, err := s.getRun(r.Context(), r.PathValue("run"))
	if err != nil {
		return nil, nil, err
	}
	j, err := findJob(run, r.PathValue("job"))
	return run, j, err
}

func (s *site) job(w http.ResponseWriter, r *http.Request, v visitor) error {
	run, j, err := s.jobOf(r)
	if err != nil {
		return err
	}
	now := s.Clock.Now()
	view := &jobView{User: v.Name, RunID: run.GetId(), RunName: run.GetName() + " " + numberOf(run), RunHref: runPath(run.GetId()), NowMS: now.UnixMilli(),
		Head: s.jobHead(r.Context(), run, j, now), Notes: notesOf(j.GetAnnotations())}
	attempt := r.URL.Query().Get("attempt")
	view.Head.Attempts = attemptRows(run, j, attempt)
	view.Head.Earlier = attempt != "" && attempt != j.GetAttemptId()
	if attempt == "" || !view.Head.Earlier {
		attempt = j.GetAttemptId()
		view.Steps = stepViews(j, now)
		for name, value := range j.GetOutputs() {
			view.Outputs = append(view.Outputs, output{name, value})
		}
		slices.SortFunc(view.Outputs, func(a, b output) int { return strings.Compare(a.Name, b.Name) })
	} else if !slices.ContainsFunc(j.GetTries(), func(t *corev1.Try) bool { return t.GetAttemptId() == attempt }) {
		return rpcerr.New(rpcerr.NotFound, "job %s has no attempt %.100q", j.GetId(), attempt)
	}
	view.Live = !view.Head.Earlier && !jobEnded(j)
	if err := s.fillLogs(r.Context(), run, j, attempt, view); err != nil {
		return err
	}
	if view.Live {
		view.Events = jobPath(run.GetId(), j.GetId()) + "/events?" + url.Values{"at": {positions(view.Steps)}, "attempt": {attempt}}.Encode()
	} else if !view.Head.Earlier && len(j.GetSteps()) > 0 {
		if view.Summaries, err = s.jobSummaries(r.Context(), run.GetId(), j); err != nil {
			return err
		}
	}
	s.show(w, r, http.StatusOK, "job", view)
	return nil
}

func (s *site) jobHead(ctx context.Context, run *apiv1.Run, j *apiv1.Job, now time.Time) jobHead {
	var why *apiv1.JobWhy
	if !jobEnded(j) {
		why = s.why(ctx, run)[j.GetId()]
	}
	h := jobHead{jobRow: rowOfJob(run, j, why, now), Agent: j.GetAgent(), Needs: j.GetNeeds()}
	h.Facts = slices.DeleteFunc(h.Facts, func(f string) bool { return f == running(j) })
	return h
}

// attemptRows are the job's attempts, oldest first; shown is the one whose log is on the page.
func attemptRows(run *apiv1.Run, j *apiv1.Job, shown string) []attemptRow {
	if len(j.GetTries()) == 0 {
		return nil
	}
	var out []attemptRow
	path := jobPath(run.GetId(), j.GetId())
	for _, t := range j.GetTries() {
		row := attemptRow{Text: fmt.Sprintf("Attempt %d", t.GetNumber()), Href: path + "?attempt=" + url.QueryEscape(t.GetAttemptId()), Ending: t.GetEnding(), Reason: t.GetReason(), Current: t.GetAttemptId() == shown}
		if t.GetRunAttempt() > 1 {
			row.Text += fmt.Sprintf(" (of the run's attempt %d)", t.GetRunAttempt())
		}
		if t.GetAgent() != "" {
			row.Ending += " on " + t.GetAgent()
		}
		out = append(out, row)
	}
	return append(out, attemptRow{Text: fmt.Sprintf("Attempt %d", j.GetAttempt()), Href: path, Ending: tui.JobWord(j.GetState()), Current: shown == "" || shown == j.GetAttemptId()})
}

func stepViews(j *apiv1.Job, now time.Time) []stepView {
	var out []stepView
	for _, st := range j.GetSteps() {
		out = append(out, stepOf(j, st, now))
	}
	// What people come for: what failed, or is at work.
	for i := range out {
		out[i].Open = out[i].Class == "bad" || out[i].Class == "run"
	}
	return out
}

func stepOf(j *apiv1.Job, st *corev1.StepStatus, now time.Time) stepView {
	v := stepView{look: stepLook(st.GetState()), Number: st.GetNumber(), Name: st.GetName(), Trouble: troubleOf(st.GetFailure())}
	switch {
	case st.GetState() == corev1.StepState_STEP_STATE_RUNNING && j.GetStartedMs() != 0:
		v.Took = spanOf(j.GetStartedMs()+max(st.GetStartedMs(), 0), 0, now)
	case st.GetStartedMs() >= 0 && st.GetEndedMs() >= st.GetStartedMs() && st.GetState() != corev1.StepState_STEP_STATE_SKIPPED:
		v.Took = span{Text: tui.Duration(time.Duration(st.GetEndedMs()-st.GetStartedMs()) * time.Millisecond)}
	}
	if st.GetExitCode() != 0 {
		v.Facts = append(v.Facts, fmt.Sprintf("exit code %d", st.GetExitCode()))
	}
	if st.GetOutcome() == corev1.Result_RESULT_FAILURE && st.GetConclusion() == corev1.Result_RESULT_SUCCESS {
		v.Facts = append(v.Facts, "failed, and the job went on")
	}
	if st.GetTries() > 1 {
		v.Facts = append(v.Facts, fmt.Sprintf("%d tries", st.GetTries()))
	}
	return v
}
