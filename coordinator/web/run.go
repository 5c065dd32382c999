package web

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/internal/id"
	"github.com/slipway-ci/slipway/internal/tui"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// runView is a run's page. Its parts are templates of their own: while the run lives, those that change are sent again.
type runView struct {
	User      string
	ID        string
	Live      bool
	Events    string
	NowMS     int64
	Head      runHead
	Graph     *picture
	Jobs      []jobRow
	Artifacts []artifactRow
	Tests     *testsView
	Notes     []jobNotes
	Summaries []summary
}

type runHead struct {
	look
	Name, Number, Source, File, Project, Actor, ID string
	Created                                        instant
	Took                                           span
	Again                                          string
	Reason                                         string
	Trouble                                        *trouble
	Attempts                                       []attemptLink
}

type jobRow struct {
	look
	ID, Name, Href string
	Took           span
	Facts          []string
	Reason, Remedy string
	Trouble        *trouble
}

type jobNotes struct {
	Job   string
	Href  string
	Notes []note
}

type artifactRow struct {
	Name, Href, Size, Files, From string
}

// testsView is what the tests in all artifacts say together.
type testsView struct {
	look
	Counts string
	Sets   []testSet
}

type testSet struct {
	Artifact, Counts string
	Failed           []*corev1.TestCase
	More             int
}

func (s *site) run(w http.ResponseWriter, r *http.Request, v visitor) error {
	run, err := s.getRun(r.Context(), r.PathValue("run"))
	if err != nil {
		return err
	}
	if !id.Valid(r.PathValue("run")) || r.PathValue("run") != run.GetId() {
		http.Redirect(w, r, runPath(run.GetId()), http.StatusSeeOther)
		return nil
	}
	view := s.runView(r.Context(), run)
	view.User = v.Name
	view.Summaries = s.runSummaries(r.Context(), run)
	s.show(w, r, http.StatusOK, "run", view)
	return nil
}

func (s *site) runView(ctx context.Context, run *apiv1.Run) *runView {
	now := s.Clock.Now()
	v := &runView{ID: run.GetId(), Live: !ended(run), Events: runPath(run.GetId()) + "/events", NowMS: now.UnixMilli(), Head: headOf(run, now), Graph: draw(run, now), Tests: testsOf(run)}
	// Numbers are a project's own: where another has the same one, nobody can say which attempt is the newest.
	newest, err := s.getRun(ctx, fmt.Sprintf("#%d", run.GetNumber()))
	if err != nil || newest.GetProject() != run.GetProject() {
		newest = run
	}
	v.Head.Attempts = attemptsOf(run, newest)
	why := s.why(ctx, run)
	for _, j := range run.GetJobs() {
		v.Jobs = append(v.Jobs, rowOfJob(run, j, why[j.GetId()], now))
		if notes := notesOf(j.GetAnnotations()); len(notes) > 0 {
			v.Notes = append(v.Notes, jobNotes{tui.JobName(j), jobPath(run.GetId(), j.GetId()), notes})
		}
	}
	for _, a := range run.GetArtifacts() {
		v.Artifacts = append(v.Artifacts, artifactRow{Name: a.GetName(), Href: artifactPath(run.GetId(), a.GetName()), Size: size(a.GetSize()), Files: plural(int(a.GetFiles()), "file"), From: a.GetJobId()})
	}
	return v
}

// why asks what the jobs of a live run wait for. Without an answer the page says what the run itself does.
func (s *site) why(ctx context.Context, run *apiv1.Run) map[string]*apiv1.JobWhy {
	out := map[string]*apiv1.JobWhy{}
	if ended(run) {
		return out
	}
	resp, err := s.Runs.WhyRun(ctx, &apiv1.WhyRunRequest{RunId: run.GetId()})
	if err != nil {
		return out
	}
	for _, j := range resp.GetJobs() {
		out[j.GetJobId()] = j
	}
	return out
}

func headOf(run *apiv1.Run, now time.Time) runHead {
	h := runHead{look: runLook(run), Name: run.GetName(), Number: numberOf(run), Source: tui.Describe(run), File: run.GetPath(), Project: run.GetProject(), Actor: run.GetActor(), ID: run.GetId(),
		Created: instantOf(run.GetCreatedMs(), now), Took: spanOf(run.GetCreatedMs(), run.GetEndedMs(), now), Reason: run.GetReason(), Trouble: troubleOf(run.GetFailure())}
	if repo := run.GetSource().GetRepository(); repo != "" {
		h.Source = repo + " " + h.Source
	}
	if run.GetRerunBy() != "" {
		h.Again = fmt.Sprintf("%s again, asked for by %s", run.GetRerunOf(), run.GetRerunBy())
	}
	return h
}

func rowOfJob(run *apiv1.Run, j *apiv1.Job, why *apiv1.JobWhy, now time.Time) jobRow {
	row := jobRow{look: jobLook(j.GetState()), ID: j.GetId(), Name: tui.JobName(j), Href: jobPath(run.GetId(), j.GetId()), Took: spanOf(j.GetStartedMs(), j.GetEndedMs(), now),
		Reason: j.GetReason(), Trouble: troubleOf(j.GetFailure()), Facts: facts(j)}
	if row.Trouble != nil && strings.Contains(row.Trouble.Message, row.Reason) {
		row.Reason = ""
	}
	if !jobEnded(j) && why.GetReason() != "" && j.GetState() < corev1.JobState_JOB_STATE_ASSIGNED {
		row.Reason = why.GetReason()
		// What needs others is helped by them alone.
		if j.GetState() != corev1.JobState_JOB_STATE_BLOCKED {
			row.Remedy = why.GetRemedy()
		}
	}
	return row
}

// facts are what is worth a word beside a job's state.
func facts(j *apiv1.Job) []string {
	var out []string
	if j.GetAttempt() > 1 {
		out = append(out, fmt.Sprintf("attempt %d", j.GetAttempt()))
	}
	if j.GetFlaky() {
		out = append(out, "passed on retry")
	}
	if j.GetKeptAttempt() > 0 {
		out = append(out, fmt.Sprintf("kept from attempt %d of the run", j.GetKeptAttempt()))
	}
	if steps := running(j); steps != "" {
		out = append(out, steps)
	}
	return out
}

// running is the step that a job is at.
func running(j *apiv1.Job) string {
	if jobEnded(j) {
		return ""
	}
	for _, st := range j.GetSteps() {
		if st.GetState() == corev1.StepState_STEP_STATE_RUNNING {
			return st.GetName()
		}
	}
	return ""
}

func testsOf(run *apiv1.Run) *testsView {
	sum := &corev1.TestSummary{}
	v := &testsView{}
	for _, a := range run.GetArtifacts() {
		t := a.GetTests()
		if t == nil {
			continue
		}
		sum.Tests += t.GetTests()
		sum.Failures += t.GetFailures()
		sum.Errors += t.GetErrors()
		sum.Skipped += t.GetSkipped()
		sum.DurationMs += t.GetDurationMs()
		v.Sets = append(v.Sets, testSet{Artifact: a.GetName(), Counts: counts(t), Failed: t.GetFailed(), More: int(t.GetFailures()+t.GetErrors()) - len(t.GetFailed())})
	}
	if v.Sets == nil {
		return nil
	}
	v.Counts = counts(sum)
	v.look = lookOf("ok", "passed")
	if sum.GetFailures()+sum.GetErrors() > 0 {
		v.look = lookOf("bad", "failed")
	}
	return v
}

func counts(t *corev1.TestSummary) string {
	return fmt.Sprintf("%d run, %d failed, %d errors, %d skipped, %s", t.GetTests(), t.GetFailures(), t.GetErrors(), t.GetSkipped(),
		tui.Duration(time.Duration(t.GetDurationMs())*time.Millisecond))
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
