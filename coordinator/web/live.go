package web

import (
	"context"
	"fmt"
	"net/http"
	"sort"
	"strings"

	"github.com/slipway-ci/slipway/coordinator/web/logview"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// block is a part of a page that changed: the new inside of the element with this id. If there is none, Whole goes to the end of Into.
type block struct {
	ID    string `json:"id"`
	HTML  string `json:"html"`
	Into  string `json:"into,omitempty"`
	Whole string `json:"whole,omitempty"`
}

// blocks remembers what a page shows, so that only what changed is sent.
type blocks map[string]string

// changed renders a template and adds it if it is not what was sent last.
func (b blocks) changed(out []block, page, part, id string, data any) ([]block, error) {
	html, err := render(page, part, data)
	if err != nil || b[id] == string(html) {
		return out, err
	}
	b[id] = string(html)
	return append(out, block{ID: id, HTML: string(html)}), nil
}

// runEvents tells a run's page what changed, until the run has ended.
func (s *site) runEvents(w http.ResponseWriter, r *http.Request, v visitor) error {
	run, err := s.getRun(r.Context(), r.PathValue("run"))
	if err != nil {
		return err
	}
	return s.serve(w, r, v, func(ctx context.Context, e *events) error {
		sent := blocks{}
		err := s.watch(ctx, run.GetId(), func(run *apiv1.Run) error {
			changed, err := s.runBlocks(ctx, sent, run)
			if err != nil {
				return err
			}
			if len(changed) > 0 {
				if err := e.send("blocks", "", changed); err != nil {
					return err
				}
			}
			if ended(run) {
				return errOver
			}
			return pause(ctx)
		})
		return over(err)
	})
}

// over is what a source of events returns that has nothing more to tell.
func over(err error) error {
	if err == nil {
		return errOver
	}
	return err
}

func (s *site) runBlocks(ctx context.Context, sent blocks, run *apiv1.Run) (out []block, err error) {
	view := s.runView(ctx, run)
	for _, part := range []string{"head", "graph", "jobs", "tests", "artifacts", "notes"} {
		if out, err = sent.changed(out, "run", part, part, view); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// jobEvents tells a job's page its states, and the lines of its log, until the attempt that the page shows has ended and all are told.
func (s *site) jobEvents(w http.ResponseWriter, r *http.Request, v visitor) error {
	run, j, err := s.jobOf(r)
	if err != nil {
		return err
	}
	attempt := r.URL.Query().Get("attempt")
	if attempt == "" {
		attempt = j.GetAttemptId()
	}
	have := parsePositions(r.URL.Query().Get("at"))
	for step, offset := range parsePositions(r.Header.Get("Last-Event-ID")) {
		have[step] = offset
	}
	states := func(ctx context.Context, e *events) error {
		return s.jobStates(ctx, e, run.GetId(), j.GetId(), attempt)
	}
	if attempt == "" {
		// Nothing has begun: the page is loaded again when it has.
		return s.serve(w, r, v, states)
	}
	// The states go on when the log has ended before them, and the other way round.
	statesDone, logDone := make(chan struct{}), make(chan struct{})
	return s.serve(w, r, v,
		both(statesDone, logDone, states),
		both(logDone, statesDone, func(ctx context.Context, e *events) error {
			return s.tail(ctx, e, where{run: run.GetId(), job: j.GetId(), attempt: attempt}, have)
		}))
}

// both lets a source that is over wait for the other one; done is closed when it is.
func both(done, other chan struct{}, source func(context.Context, *events) error) func(context.Context, *events) error {
	return func(ctx context.Context, e *events) error {
		err := source(ctx, e)
		if err != nil && err != errOver { //nolint:errorlint // our own, never wrapped
			return err
		}
		close(done)
		select {
		case <-other:
			return errOver
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// jobStates sends the job's head and its steps as they change. When another attempt begins, the page is to be loaded again.
func (s *site) jobStates(ctx context.Context, e *events, runID, jobID, attempt string) error {
	sent := blocks{}
	err := s.watch(ctx, runID, func(run *apiv1.Run) error {
		j, err := findJob(run, jobID)
		if err != nil {
			return err
		}
		if j.GetAttemptId() != attempt {
			return e.sendThen("reload", errOver)
		}
		changed, err := s.jobBlocks(ctx, sent, run, j)
		if err != nil {
			return err
		}
		if len(changed) > 0 {
			if err := e.send("blocks", "", changed); err != nil {
				return err
			}
		}
		if jobEnded(j) {
			return errOver
		}
		return pause(ctx)
	})
	return over(err)
}

// sendThen sends an event without data, and returns next if that went well.
func (e *events) sendThen(name string, next error) error {
	if err := e.send(name, "", ""); err != nil {
		return err
	}
	return next
}

func (s *site) jobBlocks(ctx context.Context, sent blocks, run *apiv1.Run, j *apiv1.Job) (out []block, err error) {
	now := s.Clock.Now()
	view := &jobView{Live: true, Head: s.jobHead(ctx, run, j, now), Notes: notesOf(j.GetAnnotations())}
	for _, part := range []string{"head", "notes"} {
		if out, err = sent.changed(out, "job", part, part, view); err != nil {
			return nil, err
		}
	}
	for _, st := range stepViews(j, now) {
		st.Raw = where{run: run.GetId(), job: j.GetId(), attempt: j.GetAttemptId(), step: st.Number}.raw()
		id := fmt.Sprintf("step-%d-head", st.Number)
		before := len(out)
		if out, err = sent.changed(out, "job", "stephead", id, st); err != nil {
			return nil, err
		}
		if len(out) > before {
			whole, err := render("job", "step", st)
			if err != nil {
				return nil, err
			}
			out[before].Into, out[before].Whole = "steps", string(whole)
		}
	}
	return out, nil
}

// logEvent is lines of a step's log: each a kind and its HTML.
type logEvent struct {
	Step uint32 `json:"step"`
	From int64  `json:"from"`
	To   int64  `json:"to"`
	// Gap is how many bytes before From are not sent, for they came faster than they could be shown; Before is the page that has them.
	Gap    string   `json:"gap,omitempty"`
	Before string   `json:"before"`
	Lines  [][2]any `json:"lines"`
}

// tailing is one page that follows a log.
type tailing struct {
	s    *site
	e    *events
	at   where
	have map[uint32]int64
	// step is the one whose lines come now, through renderer.
	step     uint32
	begun    bool
	renderer logview.Renderer
}

// liveBytes is how much of a log is sent at once; of one that grows faster the middle is left out.
const liveBytes = 128 << 10

func (s *site) tail(ctx context.Context, e *events, at where, have map[uint32]int64) error {
	t := &tailing{s: s, e: e, at: at, have: have}
	req := &apiv1.StreamLogsRequest{RunId: at.run, JobId: at.job, AttemptId: at.attempt, Follow: true, Tail: liveBytes}
	for step, offset := range have {
		req.Have = append(req.Have, &apiv1.LogPosition{AttemptId: at.attempt, Step: step, Offset: offset})
	}
	err := s.readLogs(ctx, req, func(m *apiv1.StreamLogsResponse) error {
		if err := t.take(m); err != nil {
			return err
		}
		return pause(ctx)
	})
	if err != nil && rpcerr.ReasonOf(err) != rpcerr.LogIncomplete {
		return err
	}
	if err := t.flush(); err != nil {
		return err
	}
	return errOver
}

// take shows what came, as far as its lines are whole.
func (t *tailing) take(m *apiv1.StreamLogsResponse) error {
	if t.begun && m.GetStep() != t.step {
		if err := t.flush(); err != nil {
			return err
		}
	}
	shown := t.have[m.GetStep()]
	pending := int64(0)
	if t.begun {
		pending = int64(t.renderer.Pending())
	}
	t.step, t.begun = m.GetStep(), true
	data, from := m.GetData(), m.GetOffset()
	gap := from - shown - pending
	if gap > 0 {
		// Of the line within which it goes on nothing is shown.
		t.renderer = logview.Renderer{}
		if i := strings.IndexByte(string(data), '\n'); i >= 0 {
			gap, from, data = gap+int64(i)+1+pending, from+int64(i)+1, data[i+1:]
		}
	}
	lines := t.renderer.Write(data)
	end := m.GetOffset() + int64(len(m.GetData())) - int64(t.renderer.Pending())
	t.have[t.step] = end
	if len(lines) == 0 {
		return nil
	}
	if gap <= 0 {
		from, gap = shown, 0
	}
	return t.send(lines, from, gap)
}

// flush shows the rest of a line that has no end.
func (t *tailing) flush() error {
	from := t.have[t.step]
	rest := int64(t.renderer.Pending())
	lines := t.renderer.Close()
	t.renderer = logview.Renderer{}
	if len(lines) == 0 {
		return nil
	}
	t.have[t.step] = from + rest
	return t.send(lines, from, 0)
}

func (t *tailing) send(lines []logview.Line, from, gap int64) error {
	at := t.at
	at.step = t.step
	ev := logEvent{Step: t.step, From: from, To: t.have[t.step], Before: at.before(0), Lines: make([][2]any, 0, len(lines))}
	if gap > 0 {
		ev.Gap = size(gap)
	}
	for _, l := range lines {
		html := string(l.HTML)
		if l.Kind != logview.Group && l.Kind != logview.EndGroup {
			html = lineHTML(l)
		}
		ev.Lines = append(ev.Lines, [2]any{l.Kind, html})
	}
	return t.e.send("log", t.position(), ev)
}

// position is what the browser says when it comes again.
func (t *tailing) position() string {
	steps := make([]uint32, 0, len(t.have))
	for step := range t.have {
		steps = append(steps, step)
	}
	sort.Slice(steps, func(i, j int) bool { return steps[i] < steps[j] })
	var out []string
	for _, step := range steps {
		out = append(out, fmt.Sprintf("%d:%d", step, t.have[step]))
	}
	return strings.Join(out, ",")
}
