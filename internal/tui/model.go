package tui

import (
	"strings"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// tailLines is how many of a step's last lines a model keeps, the most that a frame shows of one job.
const tailLines = 8

// maxPartial bounds a line in bytes; an unfinished one that is longer is shown from its end.
const maxPartial = 8 << 10

// Model is what is known of the runs that are shown. Not safe for concurrent use.
type Model struct {
	runs    []*runModel
	notices []string
}

type runModel struct {
	id    string
	run   *apiv1.Run
	tails map[string]*tail
}

// tail is the end of a job's newest step's output.
type tail struct {
	attempt string
	step    uint32
	lines   []string
	partial string
}

// NewModel returns a model that shows the runs with these ids, in this order.
func NewModel(ids ...string) *Model {
	m := &Model{}
	for _, id := range ids {
		m.runs = append(m.runs, &runModel{id: id, tails: map[string]*tail{}})
	}
	return m
}

// Run takes a run's newest state.
func (m *Model) Run(r *apiv1.Run) {
	if rm := m.find(r.GetId()); rm != nil {
		rm.run = r
	}
}

// Log takes output of a run's job.
func (m *Model) Log(runID string, l *apiv1.StreamLogsResponse) {
	rm := m.find(runID)
	if rm == nil {
		return
	}
	t := rm.tails[l.GetJobId()]
	switch {
	case t == nil || t.attempt != l.GetAttemptId() || l.GetStep() > t.step:
		t = &tail{attempt: l.GetAttemptId(), step: l.GetStep()}
		rm.tails[l.GetJobId()] = t
	case l.GetStep() < t.step:
		return // Late bytes of an older step: the newer one is what people watch.
	}
	t.add(string(l.GetData()))
}

func (t *tail) add(s string) {
	s = t.partial + s
	lines := strings.Split(s, "\n")
	t.partial = lines[len(lines)-1]
	if len(t.partial) > maxPartial {
		t.partial = t.partial[len(t.partial)-maxPartial:]
	}
	for _, l := range lines[max(0, len(lines)-1-tailLines) : len(lines)-1] {
		t.lines = append(t.lines, clean(l[:min(len(l), maxPartial)]))
	}
	t.lines = t.lines[max(0, len(t.lines)-tailLines):]
}

// last returns up to n of the newest lines, the unfinished one included.
func (t *tail) last(n int) []string {
	if t == nil || n <= 0 {
		return nil
	}
	lines := t.lines
	if p := clean(t.partial); p != "" {
		lines = append(append([]string(nil), lines...), p)
	}
	return lines[max(0, len(lines)-n):]
}

// Notice shows a line below the tree until the next one replaces it.
func (m *Model) Notice(text string) { m.notices = []string{clean(text)} }

func (m *Model) find(id string) *runModel {
	for _, r := range m.runs {
		if r.id == id {
			return r
		}
	}
	return nil
}
