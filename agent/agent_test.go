package agent_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/agent/agenttest"
	"github.com/slipway-ci/slipway/agent/sandbox/fake"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// run gives a job to a fresh agent and returns how it ended.
func run(t *testing.T, h *host, id string, steps ...*planv1.Step) *agenttest.Attempt {
	t.Helper()
	h.c.Offer(job(id, steps...))
	a := h.c.WaitDone(id)
	for _, sum := range a.Last().GetLogs() {
		got := sha256.Sum256([]byte(logOf(a, sum.GetStep())))
		if hex.EncodeToString(got[:]) != sum.GetSha256() {
			t.Errorf("step %d: the stored log is not the one reported", sum.GetStep())
		}
	}
	return a
}

func TestStepsPassValuesOn(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	a := job("a1",
		sh("echo answer=42 >> $GITHUB_OUTPUT\nprintf 'text<<EOF\\na\\nb\\nEOF\\n' >> $GITHUB_OUTPUT\necho GREETING=hello >> $GITHUB_ENV\necho /opt/tool/bin >> $GITHUB_PATH", id("one")),
		sh(`printf '%s|%s|%s|%s\n' "$GREETING" "$GITHUB_REPOSITORY" "$MATRIX" "$CI"; printf '%s' "$PATH" | cut -d: -f1; pwd; echo "::notice file=x.js,line=2::look"`, func(s *planv1.Step) {
			s.Env = []*planv1.Entry{entry("MATRIX", exp("format('n{0}', matrix.node)"))}
		}),
		&planv1.Step{Condition: "success() && steps.one.outputs.answer == '42' && env.GREETING == 'hello'", Kind: &planv1.Step_Run{Run: &planv1.Run{
			Script: exp("format('echo \"[{0}]\" in {1}', steps.one.outputs.text, github.workspace)"), Shell: lit("bash")}}},
		sh("exit 1", cond("failure()")),
	)
	a.Job.Outputs = []*planv1.Entry{entry("answer", exp("steps.one.outputs.answer")), entry("none", exp("steps.none.outputs.x"))}
	a.Job.Env = []*planv1.Entry{entry("GREETING", lit("overridden"))}
	h.c.Offer(a)
	got := h.c.WaitDone("a1")
	r := got.Last()
	if r.GetResult() != corev1.Result_RESULT_SUCCESS || conclusions(got) != "0:success 1:success 2:success 3:success 4:skipped 5:success" {
		t.Fatalf("result %s, steps %s: %v", r.GetResult(), conclusions(got), r.GetFailure())
	}
	workspace := filepath.Join(h.dir, "data/attempts/a1/workspace")
	if want := "hello|o/r|n20|true\n/opt/tool/bin\n" + workspace + "\n::notice file=x.js,line=2::look\n"; logOf(got, 2) != want {
		t.Errorf("log 2 is %q, want %q", logOf(got, 2), want)
	}
	if want := "[a\nb] in /github/workspace\n"; logOf(got, 3) != want {
		t.Errorf("log 3 is %q, want %q", logOf(got, 3), want)
	}
	if len(r.GetOutputs()) != 1 || r.GetOutputs()[0].GetValue() != "42" {
		t.Errorf("outputs %v", r.GetOutputs())
	}
	if an := r.GetAnnotations(); len(an) != 1 || an[0].GetMessage() != "look" || an[0].GetStep() != 2 || an[0].GetLine() != 2 {
		t.Errorf("annotations %v", an)
	}
	h.c.Wait("the attempt is forgotten", func() bool { return len(h.pods()) == 0 })
}

func TestFailureContinueOnErrorAndConditions(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	a := run(t, h, "a1",
		sh("exit 3", id("soft"), func(s *planv1.Step) { s.ContinueOnError = lit("true") }),
		sh("echo $OUTCOME $CONCLUSION", func(s *planv1.Step) {
			s.Env = []*planv1.Entry{entry("OUTCOME", exp("steps.soft.outcome")), entry("CONCLUSION", exp("steps.soft.conclusion"))}
		}),
		sh("echo NODE_OPTIONS=x >> $GITHUB_ENV"),
		sh("echo not reached"),
		sh("echo cleaning; echo $STATUS", cond("always()"), func(s *planv1.Step) { s.Env = []*planv1.Entry{entry("STATUS", exp("job.status"))} }),
		sh("echo never", cond("fromJSON('{')")),
	)
	if got := conclusions(a); got != "0:success 1:success 2:success 3:failure 4:skipped 5:success 6:failure 7:success" {
		t.Errorf("steps %s", got)
	}
	if s := step(t, a, 1); s.GetOutcome() != corev1.Result_RESULT_FAILURE || s.GetExitCode() != 3 {
		t.Errorf("step 1: %v", s)
	}
	if logOf(a, 2) != "failure success\n" || logOf(a, 5) != "cleaning\nfailure\n" {
		t.Errorf("logs %q, %q", logOf(a, 2), logOf(a, 5))
	}
	if f := a.Last().GetFailure(); a.Last().GetResult() != corev1.Result_RESULT_FAILURE || f.GetFault() != corev1.Fault_FAULT_USER || !strings.Contains(f.GetMessage(), "NODE_OPTIONS") {
		t.Errorf("failure %v", f)
	}
}

func TestMasksHideValuesEverywhere(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	a := job("a1",
		sh("s=hunter; echo ::add-mask::${s}2; echo ${s}2 again; echo secret=${s}2 >> $GITHUB_OUTPUT; echo ok=fine >> $GITHUB_OUTPUT; echo S=${s}2 >> $GITHUB_ENV", id("m")),
		sh("echo with $S; echo ::error::found $S"),
	)
	a.Job.Outputs = []*planv1.Entry{entry("secret", exp("steps.m.outputs.secret")), entry("ok", exp("steps.m.outputs.ok"))}
	h.c.Offer(a)
	got := h.c.WaitDone("a1")
	if logOf(got, 1) != "::add-mask::***\n*** again\n" || logOf(got, 2) != "with ***\n::error::found ***\n" {
		t.Errorf("logs %q, %q", logOf(got, 1), logOf(got, 2))
	}
	r := got.Last()
	if len(r.GetOutputs()) != 1 || r.GetOutputs()[0].GetName() != "ok" {
		t.Errorf("outputs %v", r.GetOutputs())
	}
	if strings.Contains(fmt.Sprint(r), "hunter2") {
		t.Errorf("the report holds the secret: %v", r)
	}
	h.down()
	db, err := os.ReadFile(filepath.Join(h.dir, "data/state/state.db"))
	if err != nil || strings.Contains(string(db), "hunter2") || strings.Contains(string(db), "token-of-") {
		t.Errorf("the database holds a secret (%v)", err)
	}
}

func TestCancelStopsTheStepAndRunsWhatStillHolds(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	h.c.Offer(job("a1", sh("echo begun; exec sleep 600"), sh("echo no"), sh("echo cancelled", cond("cancelled()")), sh("echo always", cond("always()"))))
	h.c.Wait("the step prints", func() bool { return logOf(h.c.Attempt("a1"), 1) == "begun\n" })
	h.c.Cancel("a1", "no longer needed")
	a := h.c.WaitDone("a1")
	if got := conclusions(a); got != "0:success 1:cancelled 2:skipped 3:success 4:success 5:success" {
		t.Errorf("steps %s", got)
	}
	if r := a.Last(); r.GetResult() != corev1.Result_RESULT_CANCELLED || r.GetFailure().GetCode() != "cancelled" {
		t.Errorf("result %v, %v", r.GetResult(), r.GetFailure())
	}
}

func TestCancelLetsAStepRunOnWhoseConditionHolds(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	gate := filepath.Join(h.dir, "gate")
	h.c.Offer(job("a1", sh("echo begun; while [ ! -e "+gate+" ]; do sleep 0.02; done; echo ended", cond("always()")), sh("echo no")))
	h.c.Wait("the step prints", func() bool { return logOf(h.c.Attempt("a1"), 1) == "begun\n" })
	h.c.Cancel("a1", "x")
	h.c.Wait("the cancel arrived", func() bool {
		return h.c.Attempt("a1").Last().GetState() == corev1.AttemptState_ATTEMPT_STATE_CANCELLING
	})
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a := h.c.WaitDone("a1")
	if logOf(a, 1) != "begun\nended\n" || a.Last().GetResult() != corev1.Result_RESULT_CANCELLED {
		t.Errorf("log %q, result %s", logOf(a, 1), a.Last().GetResult())
	}
}

func TestTimeouts(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	a := run(t, h, "a1", sh("exec sleep 600", func(s *planv1.Step) { s.TimeoutMinutes = lit("0.002") }), sh("echo after", cond("failure()")))
	if s := step(t, a, 1); s.GetFailure().GetCode() != "timed-out" || conclusions(a) != "0:success 1:failure 2:success 3:success" {
		t.Errorf("step %v, steps %s", s, conclusions(a))
	}
	b := job("b1", sh("exec sleep 600"), sh("echo after", cond("always()")))
	b.Job.TimeoutMinutes = lit("0.005")
	h.c.Offer(b)
	got := h.c.WaitDone("b1")
	if r := got.Last(); !r.GetTimedOut() || r.GetFailure().GetCode() != "timed-out" || conclusions(got) != "0:success 1:cancelled 2:success 3:success" {
		t.Errorf("timed out %v, %v, steps %s", r.GetTimedOut(), r.GetFailure(), conclusions(got))
	}
}

func TestAPodThatCannotBeMadeFailsTheJobWithItsReason(t *testing.T) {
	h := newHost(t, fake.Options{Image: func(ref string) error {
		if strings.HasPrefix(ref, "bad") {
			return fmt.Errorf("no such manifest")
		}
		return nil
	}})
	h.up()
	a := job("a1", sh("echo no"))
	a.Image = "bad@sha256:1"
	h.c.Offer(a)
	got := h.c.WaitDone("a1")
	if r := got.Last(); r.GetFailure().GetCode() != "image-unavailable" || conclusions(got) != "0:failure 2:success" || !strings.Contains(logOf(got, 0), "no such manifest") {
		t.Errorf("%v, steps %s, log %q", r.GetFailure(), conclusions(got), logOf(got, 0))
	}
	b := job("b1", sh("echo no"))
	b.Job.Services = []*planv1.Service{{Name: "db", Container: &planv1.Container{Image: lit("pg"), Options: lit("--privileged")}}}
	b.Images = map[string]string{"pg": "pg@sha256:2"}
	h.c.Offer(b)
	got = h.c.WaitDone("b1")
	if f := got.Last().GetFailure(); f.GetCode() != "invalid-job" || !strings.Contains(f.GetMessage(), "--privileged") {
		t.Errorf("%v", f)
	}
}
