package agent_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/agent/sandbox/fake"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

const metadata = "name: an action\n"

func actionOf(path string) *planv1.Action {
	sum := sha256.Sum256([]byte(metadata))
	return &planv1.Action{Uses: "./" + path, Path: path, File: "action.yml", Digest: hex.EncodeToString(sum[:])}
}

// composite is a step that uses a composite action of these steps.
func composite(path string, steps ...*planv1.Step) *planv1.Step {
	a := actionOf(path)
	a.Runs = &planv1.Action_Composite{Composite: &planv1.Composite{Steps: steps}}
	return &planv1.Step{Condition: "success()", Kind: &planv1.Step_Action{Action: a}}
}

// withOptions changes a step.
func withOptions(s *planv1.Step, options ...func(*planv1.Step)) *planv1.Step {
	for _, o := range options {
		o(s)
	}
	return s
}

func outputs(list ...*planv1.Entry) func(*planv1.Step) {
	return func(s *planv1.Step) { s.GetAction().GetComposite().Outputs = list }
}

// makeAction is a step that puts an action's metadata into the workspace, as a checkout does.
func makeAction(path string) *planv1.Step {
	return sh("mkdir -p " + path + "; printf 'name: an action\\n' > " + path + "/action.yml")
}

// echo says what an expression gives.
func echo(expression string, options ...func(*planv1.Step)) *planv1.Step {
	return withOptions(&planv1.Step{Condition: "success()", Kind: &planv1.Step_Run{Run: &planv1.Run{Shell: lit("sh"), Script: exp("format('echo {0}', " + expression + ")")}}}, options...)
}

func names(t *testing.T, steps []*corev1.StepStatus) string {
	t.Helper()
	var out []string
	for _, s := range steps {
		out = append(out, s.GetName())
	}
	return strings.Join(out, " | ")
}

func TestACompositeAction(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	inner := withOptions(composite("in",
		echo("format('{0}/{1}/{2}/{3}', inputs.deep, inputs.who, github.action_path, env.OUTER)", id("x")),
		sh("echo out=deep >> $GITHUB_OUTPUT; echo LATER=deep >> $GITHUB_ENV; echo OUTER=lost >> $GITHUB_ENV", id("s"))),
		outputs(entry("o", exp("steps.s.outputs.out"))), id("nested"), func(s *planv1.Step) {
			s.GetAction().With = []*planv1.Entry{entry("deep", exp("inputs.who"))}
			s.GetAction().Inputs = []*planv1.ActionInput{{Name: "who"}}
		})
	outer := withOptions(composite("act", echo("inputs.who"), inner, echo("format('{0} {1} {2}', steps.nested.outputs.o, env.LATER, env.OUTER)")),
		outputs(entry("said", exp("format('={0}=', steps.nested.outputs.o)")), entry("none", exp("steps.s.outputs.out"))), id("a"), func(s *planv1.Step) {
			s.Name = lit("Greet")
			s.Env = []*planv1.Entry{entry("OUTER", lit("outer"))}
			s.GetAction().With = []*planv1.Entry{entry("WHO", lit("me"))}
			s.GetAction().Inputs = []*planv1.ActionInput{{Name: "who", Default: lit("nobody")}, {Name: "more", Default: exp("github.sha")}}
		})
	h.c.Offer(job("a1", sh("mkdir act in; for a in act in; do printf 'name: an action\\n' > $a/action.yml; done"), outer,
		echo("format('{0}[{1}][{2}] {3} {4}', steps.a.outputs.said, steps.a.outputs.none, steps.nested.outputs.o, env.LATER, env.OUTER)")))
	got := h.c.WaitDone("a1")
	if c := conclusions(got); c != "0:success 1:success 2:success 3:success 4:success 5:success 6:success 7:success 8:success 9:success" {
		t.Fatal(c)
	}
	for n, want := range map[uint32]string{
		2: "Run ./act\nwith:\n  WHO: me\n  more: abc\n", 3: "me\n", 4: "Run ./in\nwith:\n  deep: me\n  who: \n", 7: "deep deep outer\n", 8: "=deep=[][] deep lost\n",
	} {
		if logOf(got, n) != want {
			t.Errorf("step %d: %q, want %q", n, logOf(got, n), want)
		}
	}
	if l := logOf(got, 5); !strings.HasPrefix(l, "me//") || !strings.HasSuffix(l, "/in/outer\n") {
		t.Errorf("%q", l)
	}
	if n := names(t, got.Last().GetSteps()); !strings.Contains(n, " | Greet | Greet / Run echo me | Greet / Run ./in | Greet / Run ./in / Run echo") {
		t.Error(n)
	}
}

// TestAnActionFailsAsItsSteps: success() and failure() look at the action, and its failure is the job's unless continue-on-error says otherwise.
func TestAnActionFailsAsItsSteps(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	h.c.Offer(job("a1", makeAction("act"),
		withOptions(composite("act", sh("exit 3", id("bad")), sh("echo never"), sh("echo $X", cond("failure()")),
			sh("exit 4", cond("always()"), func(s *planv1.Step) { s.ContinueOnError = lit("true") })), id("a"), func(s *planv1.Step) { s.ContinueOnError = lit("true") }),
		echo("format('{0} {1} {2}', steps.a.outcome, steps.a.conclusion, steps.bad.outcome)"),
		sh("exit 5", cond("success()"), func(s *planv1.Step) { s.ContinueOnError = lit("true") }),
		composite("act", sh("echo inside"), sh("exit 6"), composite("act", sh("never"))),
		composite("act", sh("echo skipped, too")),
		withOptions(composite("act", sh("echo after")), cond("always()")),
	))
	got := h.c.WaitDone("a1")
	if c := conclusions(got); c != "0:success 1:success 2:success 3:failure 4:skipped 5:success 6:success 7:success 8:success 9:failure 10:success 11:failure 12:skipped 14:skipped 16:success 17:success 18:success" {
		t.Fatal(c)
	}
	if logOf(got, 7) != "failure success\n" {
		t.Errorf("%q", logOf(got, 7))
	}
	if f := got.Last().GetFailure(); !strings.Contains(f.GetMessage(), `step "Run ./act": its step "Run exit 6": `) || got.Last().GetResult() != corev1.Result_RESULT_FAILURE {
		t.Error(f)
	}
}

func TestAnActionThatIsNotThere(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	h.c.Offer(job("a1", composite("act", sh("echo no")), withOptions(makeAction("act"), cond("always()")),
		sh("echo '#' >> act/action.yml", cond("always()")), withOptions(composite("act", sh("echo no")), cond("always()"))))
	got := h.c.WaitDone("a1")
	if c := conclusions(got); c != "0:success 1:failure 3:success 4:success 5:failure 7:success" {
		t.Fatal(c)
	}
	if !strings.Contains(logOf(got, 1), "is actions/checkout missing before this step?") || !strings.Contains(logOf(got, 5), "a step before this one has changed it") {
		t.Errorf("%q %q", logOf(got, 1), logOf(got, 5))
	}
}

// TestARestartInsideAnAction: the next process goes on with the step that ran, knows what the action was given, and ends it.
func TestARestartInsideAnAction(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	gate := filepath.Join(h.dir, "gate")
	wait := "echo waiting; while [ ! -e " + gate + " ]; do sleep 0.02; done; echo o=$X >> $GITHUB_OUTPUT"
	h.c.Offer(job("a1", makeAction("act"),
		withOptions(composite("act", composite("act", sh(wait, id("w"))), echo("inputs.who"), sh("echo said=$X >> $GITHUB_OUTPUT", id("s"))),
			outputs(entry("said", exp("steps.s.outputs.said"))), id("a"), func(s *planv1.Step) {
				s.Env = []*planv1.Entry{entry("X", lit("kept"))}
				s.GetAction().With = []*planv1.Entry{entry("who", lit("me"))}
			}),
		echo("steps.a.outputs.said")))
	h.c.Wait("the step inside", func() bool { return strings.Contains(logOf(h.c.Attempt("a1"), 4), "waiting\n") })
	h.down()
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.up()
	got := h.c.WaitDone("a1")
	if c := conclusions(got); c != "0:success 1:success 2:success 3:success 4:success 5:success 6:success 7:success 8:success" {
		t.Fatal(c)
	}
	if logOf(got, 2) != "Run ./act\nwith:\n  who: me\n" || logOf(got, 4) != "waiting\n" || logOf(got, 5) != "me\n" || logOf(got, 7) != "kept\n" {
		t.Errorf("%q %q %q %q", logOf(got, 2), logOf(got, 4), logOf(got, 5), logOf(got, 7))
	}
}

// TestACancelInsideAnAction: its own `if` decides whether it goes on.
func TestACancelInsideAnAction(t *testing.T) {
	for name, c := range map[string]struct{ condition, want string }{
		"ends":    {"success()", "0:success 1:success 2:cancelled 3:cancelled 4:skipped 5:success 6:success"},
		"goes on": {"always()", "0:success 1:success 2:success 3:success 4:success 5:success 6:success"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, fake.Options{})
			h.up()
			gate := filepath.Join(h.dir, "gate")
			h.c.Offer(job("a1", makeAction("act"),
				withOptions(composite("act", sh("echo waiting; while [ ! -e "+gate+" ]; do sleep 0.02; done"), sh("echo next"), sh("echo clean", cond("always()"))), cond(c.condition))))
			h.c.Wait("the step inside", func() bool { return strings.Contains(logOf(h.c.Attempt("a1"), 3), "waiting\n") })
			h.c.Cancel("a1", "no longer needed")
			h.c.Wait("the cancel", func() bool {
				return h.c.Attempt("a1").Last().GetState() >= corev1.AttemptState_ATTEMPT_STATE_CANCELLING
			})
			if name == "goes on" {
				if err := os.WriteFile(gate, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got := h.c.WaitDone("a1")
			if s := conclusions(got); s != c.want || got.Last().GetResult() != corev1.Result_RESULT_CANCELLED {
				t.Errorf("%s, want %s: %v", s, c.want, got.Last())
			}
		})
	}
}

// TestTheTimeOfAnAction ends the step that runs, and lets none begin.
func TestTheTimeOfAnAction(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	h.c.Offer(job("a1", makeAction("act"), withOptions(composite("act", sh("exec sleep 600"), sh("echo never", cond("always()"))), func(s *planv1.Step) { s.TimeoutMinutes = lit("0.002") })))
	got := h.c.WaitDone("a1")
	if c := conclusions(got); c != "0:success 1:success 2:failure 3:failure 4:failure 5:success" {
		t.Fatal(c)
	}
	if f := got.Last().GetFailure(); f.GetCode() != "timed-out" || !strings.Contains(logOf(got, 4), "the action that the step belongs to") {
		t.Errorf("%v %q", f, logOf(got, 4))
	}
}

// TestAnActionOutlivesManyRestarts: whenever an agent leaves, the next one goes on where it was: each step ran once, and knew what it was given.
func TestAnActionOutlivesManyRestarts(t *testing.T) {
	h := newHost(t, fake.Options{})
	ran := filepath.Join(h.dir, "ran")
	step := func(name string) *planv1.Step {
		return sh("echo "+name+" $X >> "+ran+"; echo o="+name+" >> $GITHUB_OUTPUT", id(name))
	}
	inner := withOptions(composite("act", step("b"), step("c")), id("inner"), outputs(entry("o", exp("format('{0}{1}', steps.b.outputs.o, steps.c.outputs.o)"))))
	outer := withOptions(composite("act", step("a"), inner, composite("act", withOptions(step("no"), cond("failure()"))), withOptions(composite("act", step("never")), cond("failure()"))), id("outer"),
		outputs(entry("o", exp("format('{0}{1}', steps.a.outputs.o, steps.inner.outputs.o)"))), func(s *planv1.Step) { s.Env = []*planv1.Entry{entry("X", lit("given"))} })
	h.c.Offer(job("a1", makeAction("act"), outer, echo("steps.outer.outputs.o"), withOptions(composite("act", step("d")), cond("always()"))))
	var seen *corev1.Report
	restarts := 0
	for ; seen.GetState() != corev1.AttemptState_ATTEMPT_STATE_DONE; restarts++ {
		h.up()
		seq := seen.GetSeq()
		h.c.Wait("another report", func() bool {
			if a := h.c.Attempt("a1"); a != nil {
				seen = a.Last()
			}
			return seen.GetSeq() > seq
		})
		h.down()
	}
	h.up()
	got := h.c.WaitDone("a1")
	if c := conclusions(got); c != "0:success 1:success 2:success 3:success 4:success 5:success 6:success 7:success 8:skipped 9:skipped 11:success 12:success 13:success 14:success" {
		t.Fatal(c)
	}
	if text, err := os.ReadFile(ran); err != nil || string(text) != "a given\nb given\nc given\nd\n" || logOf(got, 11) != "abc\n" || restarts < 2 {
		t.Errorf("%q %v %q, %d restarts", text, err, logOf(got, 11), restarts)
	}
}

// TestAPodLostInsideAnAction ends the step, the action and the job as lost, whether or not an agent saw it.
func TestAPodLostInsideAnAction(t *testing.T) {
	for _, seen := range []bool{true, false} {
		h := newHost(t, fake.Options{})
		h.up()
		h.c.Offer(job("a1", makeAction("act"), withOptions(composite("act", sh("echo begun; exec sleep 600"), sh("echo next")), func(s *planv1.Step) { s.ContinueOnError = lit("true") })))
		h.c.Wait("the step inside", func() bool { return logOf(h.c.Attempt("a1"), 3) == "begun\n" })
		if seen {
			h.world.KillPod("a1")
		} else {
			h.down()
			h.world.KillPod("a1")
			h.up()
		}
		got := h.c.WaitDone("a1")
		if c := conclusions(got); c != "0:success 1:success 2:failure 3:failure 5:success" || got.Last().GetFailure().GetCode() != "lost" || got.Last().GetResult() != corev1.Result_RESULT_FAILURE {
			t.Errorf("seen %v: %s, %v", seen, c, got.Last().GetFailure())
		}
		if len(got.Last().GetLogs()) != 5 || logOf(got, 3) != "begun\n" {
			t.Errorf("seen %v: %v %q", seen, got.Last().GetLogs(), logOf(got, 3))
		}
		h.down()
	}
}
