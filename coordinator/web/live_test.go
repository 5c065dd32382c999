package web_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// liveRun has one job at its first step, and others that wait.
func liveRun(others int) *apiv1.Run {
	r := &apiv1.Run{Id: runID, Number: 12, Name: "CI", State: corev1.RunState_RUN_STATE_RUNNING, CreatedMs: now.UnixMilli() - 5000, Jobs: []*apiv1.Job{{Id: "build", Key: "build", Name: "Build",
		State: corev1.JobState_JOB_STATE_RUNNING, Attempt: 1, AttemptId: attempt, StartedMs: now.UnixMilli() - 4000, Steps: []*corev1.StepStatus{{Number: 0, Name: "Set up job", State: corev1.StepState_STEP_STATE_RUNNING}}}}}
	for i := range others {
		r.Jobs = append(r.Jobs, &apiv1.Job{Id: fmt.Sprint("job-", i), Name: fmt.Sprint("Job ", i), Needs: []string{"build"}, State: corev1.JobState_JOB_STATE_BLOCKED})
	}
	return r
}

// end ends a job and the run.
func end(r *apiv1.Run) {
	r.State, r.EndedMs = corev1.RunState_RUN_STATE_SUCCEEDED, now.UnixMilli()
	for _, j := range r.Jobs {
		j.State, j.EndedMs = corev1.JobState_JOB_STATE_SUCCEEDED, now.UnixMilli()
		for _, s := range j.Steps {
			s.State = corev1.StepState_STEP_STATE_SUCCEEDED
		}
	}
}

// event is one that a page hears.
type event struct{ id, name, data string }

// listen opens a stream of events; next reads the next one, of the name "" when the stream has ended.
func (b *browser) listen(path string, headers ...string) (next func() event) {
	b.t.Helper()
	resp := b.do(http.MethodGet, path, headers...)
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		b.t.Fatalf("%s: %d %s", path, resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 4<<20)
	return func() event {
		b.t.Helper()
		var e event
		for lines.Scan() {
			key, value, _ := strings.Cut(lines.Text(), ": ")
			switch {
			case key == "id":
				e.id = value
			case key == "event":
				e.name = value
			case key == "data":
				e.data = value
			case key == "" && e.name != "":
				return e
			}
		}
		return event{}
	}
}

func TestARunsPageHearsWhatChanged(t *testing.T) {
	f := newFake(liveRun(59))
	b := serve(t, f)
	next := b.listen("/runs/" + runID + "/events")
	ids := func(e event) string {
		var blocks []struct{ ID, HTML string }
		if err := json.Unmarshal([]byte(e.data), &blocks); err != nil {
			t.Fatalf("%q: %v", e.data, err)
		}
		var out []string
		for _, block := range blocks {
			out = append(out, block.ID)
		}
		return strings.Join(out, " ")
	}
	if e := next(); e.name != "blocks" || ids(e) != "head graph jobs" {
		t.Fatalf("%s: %s", e.name, ids(e))
	}
	f.change(func() { f.run.Reason = "it waits for nobody" })
	if e := next(); ids(e) != "head" || !strings.Contains(e.data, "it waits for nobody") {
		t.Errorf("after a change of the head: %s", ids(e))
	}
	// As many changes as there are jobs: the last one counts.
	for i := range 59 {
		f.change(func() { f.run.Jobs[i+1].State = corev1.JobState_JOB_STATE_QUEUED })
	}
	f.change(func() { end(f.run) })
	last := event{}
	for e := next(); e.name == "blocks"; e = next() {
		last = e
	}
	if !strings.Contains(last.data, "succeeded") || strings.Contains(last.data, "queued") {
		t.Errorf("at last it hears %s", last.data)
	}
}

// readLog collects the texts of log events, and says which event was the last: end, reload or none.
func readLog(t *testing.T, next func() event) (text, how string) {
	t.Helper()
	var out strings.Builder
	for {
		e := next()
		switch e.name {
		case "log":
			var l struct {
				Step  uint32
				Gap   string
				Lines [][2]any
			}
			if err := json.Unmarshal([]byte(e.data), &l); err != nil {
				t.Fatal(err)
			}
			if l.Gap != "" {
				out.WriteString("<" + l.Gap + ">\n")
			}
			for _, line := range l.Lines {
				fmt.Fprintf(&out, "%d.%v %s\n", l.Step, line[0], strings.NewReplacer(`<div class="ln">`, "", "</div>", "").Replace(line[1].(string)))
			}
		case "end", "reload", "":
			return out.String(), e.name
		}
	}
}

func TestAJobsPageHearsItsLogToTheEnd(t *testing.T) {
	f := newFake(liveRun(1))
	f.logs[0] = "one\ntwo\npart"
	b := serve(t, f)
	page := b.page("/runs/" + runID + "/jobs/build")
	if !strings.Contains(page, `<div class="ln">two</div></div>`) || strings.Contains(page, "part<") || !strings.Contains(page, "at=0%3A8") {
		t.Errorf("the page does not end with the last whole line:\n%s", page)
	}
	next := b.listen("/runs/" + runID + "/jobs/build/events?attempt=" + attempt + "&at=0:8")
	f.change(func() { f.logs[0] += " of three\n::group::g\nfour" })
	f.change(func() {
		f.run.Jobs[0].Steps = append(f.run.Jobs[0].Steps, &corev1.StepStatus{Number: 1, Name: "Run <x>", State: corev1.StepState_STEP_STATE_RUNNING})
	})
	f.change(func() { f.logs[1] = "five\n" })
	f.change(func() { f.whole = true; end(f.run) })
	text, how := readLog(t, next)
	if want := "0.0 part of three\n0.1 g\n0.0 four\n1.0 five\n"; text != want || how != "end" {
		t.Errorf("%s after %q, want %q", how, text, want)
	}
}

// Who comes again after an outage gets what they have not got, and nothing twice.
func TestAStreamGoesOnWhereItBroke(t *testing.T) {
	f := newFake(liveRun(0))
	f.logs, f.whole = map[uint32]string{0: "one\ntwo\n", 1: "three\nfour\n"}, true
	end(f.run)
	b := serve(t, f)
	path := "/runs/" + runID + "/jobs/build/events?attempt=" + attempt + "&at=0:4"
	if text, _ := readLog(t, b.listen(path)); text != "0.0 two\n1.0 three\n1.0 four\n" {
		t.Errorf("at first: %q", text)
	}
	if text, _ := readLog(t, b.listen(path, "Last-Event-ID", "0:8,1:6")); text != "1.0 four\n" {
		t.Errorf("the second time: %q", text)
	}
	if text, _ := readLog(t, b.listen(path+"&x=1", "Last-Event-ID", "x,0:-1,9:9:9,,")); text != "0.0 two\n1.0 three\n1.0 four\n" {
		t.Errorf("with nonsense: %q", text)
	}
}

// A log that comes faster than it can be shown has a gap that says so.
func TestAFloodHasAGap(t *testing.T) {
	f := newFake(liveRun(0))
	line := strings.Repeat("x", 99) + "\n"
	f.logs, f.whole = map[uint32]string{0: strings.Repeat(line, 10_000) + "the end\n"}, true
	end(f.run)
	b := serve(t, f)
	text, _ := readLog(t, b.listen("/runs/"+runID+"/jobs/build/events?attempt="+attempt))
	if !strings.HasPrefix(text, "<848.") || !strings.HasSuffix(text, "0.0 the end\n") || strings.Count(text, "\n") > 1400 {
		t.Errorf("%d lines, beginning with %.100q", strings.Count(text, "\n"), text)
	}
	// The page itself shows the end too, and what comes before in pieces, up to the beginning.
	page := b.page("/runs/" + runID + "/jobs/build")
	if len(page) > 300<<10 || !strings.Contains(page, "the end") {
		t.Errorf("a page of %d bytes", len(page))
	}
	seen := strings.Count(page, line[:99])
	for href := earlier(page); href != ""; {
		part := b.page(href + "&part=1")
		seen += strings.Count(part, line[:99])
		if len(part) > 300<<10 {
			t.Errorf("a piece of %d bytes", len(part))
		}
		if body := b.page(href); !strings.Contains(body, "Later output") {
			t.Error("without a script there is no way on")
		}
		href = earlier(part)
	}
	if seen != 10_000 {
		t.Errorf("%d lines of 10000 were shown", seen)
	}
}

func earlier(page string) string {
	_, rest, found := strings.Cut(page, `<p class="earlier"><a href="`)
	if !found {
		return ""
	}
	href, _, _ := strings.Cut(rest, `"`)
	return strings.ReplaceAll(href, "&amp;", "&")
}

func TestAnotherAttemptLoadsThePageAgain(t *testing.T) {
	f := newFake(liveRun(0))
	b := serve(t, f)
	next := b.listen("/runs/" + runID + "/jobs/build/events?attempt=" + attempt)
	f.change(func() { f.run.Jobs[0].AttemptId = "another" })
	if _, how := readLog(t, next); how != "reload" {
		t.Errorf("it hears %q", how)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	f := newFake(liveRun(0))
	b := serve(t, f)
	for range 24 {
		b.listen("/runs/" + runID + "/events")()
	}
	resp := b.do(http.MethodGet, "/runs/"+runID+"/events")
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("one more: %d", resp.StatusCode)
	}
	// Pages go on.
	b.page("/runs/" + runID)
}
