package agent_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/agent/agenttest"
	"github.com/slipway-ci/slipway/agent/logs"
	"github.com/slipway-ci/slipway/agent/sandbox/fake"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// planted is a secret that no script holds as it is: they put it together.
const planted = `planted-"s3cr3t"&value`

const plant = `S='planted-"s3''cr3t"&value'; `

func lenient(s *planv1.Step) { s.ContinueOnError = lit("true") }

// wantNothingOf looks for a secret in all that left the agent, and in what it wrote on its host, but for what steps put into files of theirs.
func (h *host) wantNothingOf(secret string, a *agenttest.Attempt) {
	h.t.Helper()
	waitUntil(h.t, "the attempt's files are removed", func() bool {
		_, err := os.Stat(filepath.Join(h.dir, "data/attempts", a.Assignment.GetAttemptId()))
		return os.IsNotExist(err)
	})
	places := map[string]string{}
	for n, l := range a.Logs {
		places["the log of step "+string(rune('0'+n))] = string(l.Bytes)
	}
	for _, r := range a.Reports {
		places["a report"] += r.String()
	}
	for _, art := range h.c.Artifacts() {
		places["an artifact's record"] += art.String()
	}
	err := filepath.WalkDir(filepath.Join(h.dir, "data"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // it is being removed
		}
		text, _ := os.ReadFile(path)
		places[path] = string(text)
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	places["the agent's own log"] = h.logText()
	for place, text := range places {
		for _, form := range logs.Forms(secret) {
			// A report's text form quotes once more.
			if strings.Contains(text, form) || strings.Contains(text, strings.ReplaceAll(form, `"`, `\"`)) {
				h.t.Errorf("%s shows %q: %.300q", place, form, text[max(0, strings.Index(text, form)-100):])
			}
		}
	}
	if len(places) < 5 || len(a.Logs) < 2 {
		h.t.Errorf("only %d places, %d logs: nothing was looked at", len(places), len(a.Logs))
	}
}

// TestWhateverLeavesTheAgentIsMasked: every way out of it, for a value that a step declares.
func TestWhateverLeavesTheAgentIsMasked(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	named := func(s *planv1.Step) { s.Name = exp("format('the step {0}', steps.s.outputs.v)") }
	with := func(set func(*planv1.Step)) func(*planv1.Step) { return func(s *planv1.Step) { lenient(s); set(s) } }
	as := job("a1",
		sh(plant+`echo "::add-mask::$S"; echo "v=$S" >> $GITHUB_OUTPUT; echo "b=$(printf 'x%s' "$S" | base64 -w0)" >> $GITHUB_OUTPUT; echo "S=$S" >> $GITHUB_ENV`, id("s")),
		sh(`echo "$S"; echo "told $S" >> $GITHUB_STEP_SUMMARY; printf %s "xx$S" | base64 >> $GITHUB_STEP_SUMMARY; echo "::warning title=$S,file=$S::odd $S"`, named),
		sh(`echo "no pair but $S" >> $GITHUB_OUTPUT`, lenient),
		sh("", with(func(s *planv1.Step) {
			s.Kind = &planv1.Step_Run{Run: &planv1.Run{Script: exp("format('echo {0}', steps.s.outputs.v)")}}
		})),
		sh("true", with(func(s *planv1.Step) { s.Condition = "fromJSON(steps.s.outputs.v)" })),
		sh("true", with(func(s *planv1.Step) { s.WorkingDirectory = exp("steps.s.outputs.v") })),
		sh("true", with(func(s *planv1.Step) {
			s.Kind = &planv1.Step_Run{Run: &planv1.Run{Script: lit("true"), Shell: exp("steps.s.outputs.v")}}
		})),
		func() *planv1.Step {
			s := uses("upload-artifact", entry("name", exp("format('r-{0}', steps.s.outputs.b)")), entry("path", lit("*")))
			lenient(s)
			return s
		}(),
		sh(`printf '<testsuite name="%s"><testcase name="%s"><failure>a %s</failure></testcase></testsuite>' "$X" "$X" "$X" > r.xml`,
			func(s *planv1.Step) {
				s.Env = []*planv1.Entry{entry("X", lit(`planted-&quot;s3&#99;r3t&quot;&amp;value`))}
			}),
		uses("upload-artifact", entry("name", lit("results")), entry("path", lit("r.xml"))),
	)
	as.Job.Outputs = []*planv1.Entry{
		entry("plain", exp("steps.s.outputs.v")), entry("encoded", exp("format('a {0}', steps.s.outputs.b)")), entry("other", lit("kept")),
	}
	h.c.Offer(as)
	a := h.c.WaitDone("a1")
	h.wantNothingOf(planted, a)
	if got := conclusions(a); got != "0:success 1:success 2:success 3:success 4:success 5:success 6:success 7:success 8:success 9:success 10:success 11:success" {
		t.Errorf("steps %s: %v", got, a.Last().GetFailure())
	}
	if got := a.Last().GetOutputs(); len(got) != 1 || got[0].GetName() != "other" {
		t.Errorf("outputs %v", got)
	}
	for what, pair := range map[string][2]string{
		"a step's name":         {step(t, a, 2).GetName(), "the step ***"},
		"a step's default name": {step(t, a, 4).GetName(), "Run echo ***"},
		"a file command":        {step(t, a, 3).GetFailure().GetMessage(), "Invalid format 'no pair but ***'"},
		"a log":                 {logOf(a, 2), "***\n::warning title=***,file=***::odd ***\n"},
		"the summary":           {logOf(a, 11), "told ***\n"},
		"an artifact's name":    {step(t, a, 8).GetFailure().GetMessage(), "name holds a value that the job masks"},
		"a shell":               {step(t, a, 7).GetFailure().GetMessage(), "***"},
		"a report of tests":     {h.c.Artifacts()[0].GetTests().String(), "***"},
	} {
		if !strings.Contains(pair[0], pair[1]) {
			t.Errorf("%s: %q lacks %q", what, pair[0], pair[1])
		}
	}
	titles := 0
	for _, n := range a.Last().GetAnnotations() {
		if n.GetTitle() == "***" && n.GetFile() == "***" && n.GetMessage() == "odd ***" {
			titles++
		}
	}
	if titles != 1 {
		t.Errorf("annotations %v", a.Last().GetAnnotations())
	}
}

// TestReportsHideWhatTheirStepHides: they leave before the log of the step is at its end.
func TestReportsHideWhatTheirStepHides(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	a := run(t, h, "a1", sh(`S=planted; S="$S-value"; echo "::add-mask::$S"; printf '<testsuite><testcase name="of %s"><failure message="got %s"/></testcase></testsuite>' $S $S > r.xml`,
		func(s *planv1.Step) { s.Reports = &planv1.Reports{Junit: []*planv1.Value{lit("r.xml")}} }))
	h.wantNothingOf("planted-value", a)
	if arts := h.c.Artifacts(); len(arts) != 1 || !strings.Contains(arts[0].GetTests().String(), "got ***") {
		t.Errorf("%v", arts)
	}
}

// TestAStepThatHidesWhatItsNameHolds: the name was seen before the step ran, so the command in it is cut; in the end it is masked as well.
func TestAStepThatHidesWhatItsNameHolds(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	a := run(t, h, "a1",
		sh(plant+`echo "v=$S" >> $GITHUB_OUTPUT`, id("s")),
		sh("", func(s *planv1.Step) {
			s.Kind = &planv1.Step_Run{Run: &planv1.Run{Script: exp("format('echo ''::add-mask::{0}'' # and on', steps.s.outputs.v)")}}
		}),
	)
	if got := step(t, a, 2).GetName(); got != "Run echo '::add-mask::***" {
		t.Errorf("name %q", got)
	}
	h.wantNothingOf(planted, a)
}

// TestDebug: the project's variable keeps the lines of ::debug:: and tells the steps.
func TestDebug(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	for id, want := range map[string]string{"false": "one\n[] two\n", "TRUE": "one\n::debug::unseen\n[1] two\n"} {
		as := job(id, sh("echo one; echo ::debug::unseen; echo \"[$RUNNER_DEBUG] two\""), sh("", func(s *planv1.Step) {
			s.Kind = &planv1.Step_Run{Run: &planv1.Run{Script: exp("format('echo [{0}]', runner.debug)")}}
		}))
		as.Contexts = `{"vars":{"ACTIONS_STEP_DEBUG":"` + id + `"}}`
		h.c.Offer(as)
		a := h.c.WaitDone(id)
		if got, context := logOf(a, 1), logOf(a, 2); got != want || context != map[string]string{"false": "[]\n", "TRUE": "[1]\n"}[id] {
			t.Errorf("%s: %q, want %q; runner.debug is %q", id, got, want, context)
		}
	}
}
