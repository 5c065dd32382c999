package tui

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

var update = flag.Bool("update", false, "write the goldens anew")

const (
	start = int64(1_700_000_000_000)
	sha   = "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d"
)

func at(seconds float64) time.Time { return time.UnixMilli(start + int64(seconds*1000)) }

// example is a run in the middle: one job done, one failed, two running, one waiting.
func example() *apiv1.Run {
	step := func(n uint32, name string, state corev1.StepState, from int64) *corev1.StepStatus {
		return &corev1.StepStatus{Number: n, Name: name, State: state, StartedMs: from, EndedMs: -1}
	}
	return &apiv1.Run{
		Id: "r1", Number: 12, Name: "CI", Event: "push", State: corev1.RunState_RUN_STATE_RUNNING, CreatedMs: start,
		Source: &corev1.Source{Ref: "refs/heads/main", Sha: sha, Dirty: true},
		Jobs: []*apiv1.Job{
			{Id: "lint", Name: "Lint and unit tests", State: corev1.JobState_JOB_STATE_SUCCEEDED, StartedMs: start + 500, EndedMs: start + 12_800},
			{Id: "test.0", Name: "test (20)", State: corev1.JobState_JOB_STATE_RUNNING, Attempt: 2, AttemptId: "a", StartedMs: start + 2000,
				Steps: []*corev1.StepStatus{step(1, "Check out", corev1.StepState_STEP_STATE_SUCCEEDED, 0), step(2, "npm test", corev1.StepState_STEP_STATE_RUNNING, 3000)}},
			{Id: "test.1", Name: "test (22)", State: corev1.JobState_JOB_STATE_RUNNING, AttemptId: "b", StartedMs: start + 2500,
				Steps: []*corev1.StepStatus{step(1, "Install 日本語 dependencies", corev1.StepState_STEP_STATE_RUNNING, 100)}},
			{Id: "scan", Name: "scan", State: corev1.JobState_JOB_STATE_FAILED, StartedMs: start + 100, EndedMs: start + 1100,
				Failure: &corev1.Failure{Code: "step-failed", Message: "step \"Scan\" failed with exit code 1\nmore"}},
			{Id: "deploy", Name: "deploy", State: corev1.JobState_JOB_STATE_BLOCKED, Needs: []string{"test", "scan"}},
		},
	}
}

func filled() *Model {
	m := NewModel("r1")
	m.Run(example())
	m.Log("r1", &apiv1.StreamLogsResponse{JobId: "test.0", AttemptId: "a", Step: 1, Data: []byte("old\n")})
	m.Log("r1", &apiv1.StreamLogsResponse{JobId: "test.0", AttemptId: "a", Step: 2, Data: []byte("> app@1.0.0 test\n\x1b[32mok\x1b[0m 1 - greets\n\tpart")})
	m.Log("r1", &apiv1.StreamLogsResponse{JobId: "test.0", AttemptId: "a", Step: 1, Data: []byte("late\n")})
	m.Log("r1", &apiv1.StreamLogsResponse{JobId: "test.1", AttemptId: "b", Step: 1, Data: []byte("10%\r50%\r\nadded 312 packages\x1b]0;title\a\n")})
	return m
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

func TestFrames(t *testing.T) {
	tests := []struct {
		name  string
		size  Size
		style Style
	}{
		{"wide", Size{100, 40}, Style{}},
		{"colour", Size{100, 40}, Style{Colour: true}},
		{"ascii", Size{100, 40}, Style{ASCII: true}},
		{"narrow", Size{32, 40}, Style{}},
		{"low", Size{100, 6}, Style{}},
		{"tiny", Size{12, 3}, Style{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := filled()
			if tt.name == "wide" {
				m.Notice("cancelling; press Ctrl-C again to leave")
			}
			golden(t, "frame-"+tt.name, strings.Join(m.Frame(tt.size, at(14.2), tt.style), "\n")+"\n")
		})
	}
}

func TestPlainLines(t *testing.T) {
	var b strings.Builder
	p := NewPlain(&b, false, false)
	r := example()
	r.Jobs[0].State, r.Jobs[0].EndedMs = corev1.JobState_JOB_STATE_RUNNING, 0
	r.Jobs[0].Agent = "host-1"
	p.Run(r)
	p.Log("r1", &apiv1.StreamLogsResponse{JobId: "test.0", AttemptId: "a", Step: 2, Data: []byte("one\ntw")})
	p.Log("r1", &apiv1.StreamLogsResponse{JobId: "test.1", AttemptId: "b", Step: 1, Data: []byte("\x1b[31mred\x1b[0m\x1b[2J\n\xff\n")})
	p.Log("r1", &apiv1.StreamLogsResponse{JobId: "test.0", AttemptId: "a", Step: 2, Data: []byte("o\nno newline")})
	r.Jobs[1].State, r.Jobs[1].EndedMs = corev1.JobState_JOB_STATE_TIMED_OUT, start+70_000
	r.Jobs[4].State, r.Jobs[4].Reason = corev1.JobState_JOB_STATE_SKIPPED, "test did not succeed"
	p.Run(r)
	p.Run(r)
	p.Notice("done")
	p.Close()
	golden(t, "plain", b.String())
	if p.Err() != nil {
		t.Error(p.Err())
	}
}

// TestLongNamesLeaveTheStates: on a narrow terminal names are cut, not what they come to.
func TestLongNamesLeaveTheStates(t *testing.T) {
	r := example()
	r.Name = strings.Repeat("a long name ", 10)
	for _, j := range r.GetJobs() {
		j.Name = strings.Repeat("日本語", 20)
	}
	m := NewModel("r1")
	m.Run(r)
	lines := m.Frame(Size{40, 24}, at(14.2), Style{})
	if !strings.Contains(lines[0], " #12.1 running 14.2s") {
		t.Errorf("the heading is %q", lines[0])
	}
	text := strings.Join(lines, "\n")
	for _, want := range []string{"12.3s  succeeded", "12.2s  running", "1.0s  failed"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}

// Whatever comes in: a frame fits its terminal and holds nothing that moves the cursor.
func TestFrameFitsAnyTerminal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		run := &apiv1.Run{Id: "r1", Number: 1, Name: rapid.String().Draw(t, "name"), CreatedMs: start, State: corev1.RunState_RUN_STATE_RUNNING}
		states := []corev1.JobState{0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110}
		m := NewModel("r1")
		for i := range rapid.IntRange(0, 60).Draw(t, "jobs") {
			j := &apiv1.Job{Id: fmt.Sprint(i), Name: rapid.String().Draw(t, "job"), StartedMs: start, State: rapid.SampledFrom(states).Draw(t, "state")}
			if rapid.Bool().Draw(t, "running") {
				j.Steps = []*corev1.StepStatus{{Number: 1, Name: rapid.String().Draw(t, "step"), State: corev1.StepState_STEP_STATE_RUNNING}}
				m.Run(run)
				m.Log("r1", &apiv1.StreamLogsResponse{JobId: j.GetId(), Step: 1, Data: []byte(rapid.String().Draw(t, "log") + "\n")})
			}
			run.Jobs = append(run.Jobs, j)
		}
		m.Run(run)
		if rapid.Bool().Draw(t, "notice") {
			m.Notice(rapid.String().Draw(t, "text"))
		}
		size := Size{rapid.IntRange(11, 200).Draw(t, "width"), rapid.IntRange(2, 70).Draw(t, "height")}
		lines := m.Frame(size, at(5), Style{})
		if len(lines) > size.Height-1 {
			t.Fatalf("%d lines for a height of %d", len(lines), size.Height)
		}
		for _, l := range lines {
			if textWidth(l) > size.Width-1 || clean(l) != l {
				t.Fatalf("%q for a width of %d", l, size.Width)
			}
		}
	})
}

// screen is a terminal that understands what Painter writes.
type screen struct {
	rows    []string
	row     int
	hidden  bool
	wipes   int
	written int
}

func (s *screen) Write(b []byte) (int, error) {
	s.written += len(b)
	text := string(b)
	for text != "" {
		var n int
		switch {
		case strings.HasPrefix(text, beginSync), strings.HasPrefix(text, endSync):
			n = len(beginSync)
		case strings.HasPrefix(text, hideCursor), strings.HasPrefix(text, showCursor):
			n, s.hidden = len(hideCursor), strings.HasPrefix(text, hideCursor)
		case strings.HasPrefix(text, wipe):
			n, s.rows, s.row = len(wipe), nil, 0
			s.wipes++
		case strings.HasPrefix(text, eraseLine):
			n = len(eraseLine)
		case strings.HasPrefix(text, eraseBelow):
			n, s.rows = len(eraseBelow), s.rows[:min(s.row, len(s.rows))]
		case strings.HasPrefix(text, "\x1b["):
			var up int
			if _, err := fmt.Sscanf(text, "\x1b[%dA", &up); err != nil {
				return 0, fmt.Errorf("unknown sequence in %q", text)
			}
			n, s.row = strings.IndexByte(text, 'A')+1, s.row-up
		case text[0] == '\r':
			n = 1
		case text[0] == '\n':
			n, s.row = 1, s.row+1
		default:
			n = strings.IndexAny(text, "\x1b\r\n")
			for len(s.rows) <= s.row {
				s.rows = append(s.rows, "")
			}
			s.rows[s.row] = text[:n]
		}
		text = text[n:]
	}
	return len(b), nil
}

func TestPainterRedrawsInPlace(t *testing.T) {
	s := &screen{}
	p := NewPainter(s)
	size := Size{40, 10}
	paint := func(size Size, lines ...string) {
		t.Helper()
		if err := p.Paint(lines, size); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(s.rows, "\n"); got != strings.Join(lines, "\n") {
			t.Fatalf("screen shows %q, want %q", got, lines)
		}
	}
	paint(size, "one", "two", "three")
	paint(size, "one", "2", "three", "four")
	paint(size, "one")
	before := s.written
	paint(size, "one")
	if s.written != before {
		t.Error("an unchanged frame was written")
	}
	if s.wipes != 0 {
		t.Error("wiped without a resize")
	}
	paint(Size{20, 10}, "one", "two")
	if s.wipes != 1 {
		t.Errorf("%d wipes after a resize, want 1", s.wipes)
	}
	if err := p.Close(); err != nil || s.hidden {
		t.Errorf("cursor hidden after Close: %v", err)
	}
	if got := strings.Join(s.rows, "\n"); got != "one\ntwo" {
		t.Errorf("after Close: %q", got)
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0.0s", 0: "0.0s", 440 * time.Millisecond: "0.4s", 59 * time.Second: "59.0s", 59960 * time.Millisecond: "1m00s",
		125 * time.Second: "2m05s", 3599 * time.Second: "59m59s", 3720 * time.Second: "1h02m",
	} {
		if got := Duration(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func TestStyleFrom(t *testing.T) {
	env := map[string]string{"LANG": "de_DE.UTF-8"}
	get := func(k string) string { return env[k] }
	if s := StyleFrom(get); !s.Colour || s.ASCII {
		t.Errorf("%+v", s)
	}
	env["NO_COLOR"], env["LC_ALL"] = "1", "C"
	if s := StyleFrom(get); s.Colour || !s.ASCII {
		t.Errorf("%+v", s)
	}
}
