package agent_test

import (
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/agent/sandbox/fake"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// nodeAction is a step that uses a node action; its files are main.js and post.js.
func nodeAction(path string, with ...*planv1.Entry) *planv1.Step {
	a := actionOf(path)
	a.With = with
	a.Runs = &planv1.Action_Node{Node: &planv1.Node{Version: 16, Main: "main.js", Post: "post.js", PostIf: "always()"}}
	return &planv1.Step{Condition: "success()", Kind: &planv1.Step_Action{Action: a}}
}

// makeNode puts a program called node on PATH that runs its file as a shell script, and an action of these two files into the workspace.
func makeNode(path, main, post string) *planv1.Step {
	return sh(strings.Join([]string{
		"mkdir -p bin " + path, `printf '#!/bin/sh\n[ "$1" = --version ] && echo v20.1.0 && exit\nexec /bin/sh "$@"\n' > bin/node`, "chmod +x bin/node",
		`echo "$PWD/bin" >> "$GITHUB_PATH"`, "printf 'name: an action\\n' > " + path + "/action.yml",
		"cat > " + path + "/main.js <<'EOF'\n" + main + "\nEOF", "cat > " + path + "/post.js <<'EOF'\n" + post + "\nEOF",
	}, "\n"))
}

func TestANodeAction(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	state := `echo "kept=$INPUT_WHO" >> "$GITHUB_STATE"; echo "out=$INPUT_MORE" >> "$GITHUB_OUTPUT"; echo "::save-state name=said::$X"; env | grep '^INPUT_TWO_WORDS-X='; pwd; basename "$GITHUB_ACTION_PATH"`
	act := withOptions(nodeAction("act", entry("who", lit("me")), entry("two words-x", lit("3"))), id("n"), func(s *planv1.Step) {
		s.Env = []*planv1.Entry{entry("X", lit("env"))}
		s.GetAction().Inputs = []*planv1.ActionInput{{Name: "Who"}, {Name: "more", Default: exp("github.sha")}}
	})
	other := withOptions(composite("act", nodeAction("act", entry("who", exp("inputs.a")))), func(s *planv1.Step) { s.GetAction().With = []*planv1.Entry{entry("a", lit("inner"))} })
	h.c.Offer(job("a1", makeNode("act", state, `echo "post $STATE_kept $STATE_said $INPUT_WHO $X"`), act, other, echo("steps.n.outputs.out"), sh("exit 1"),
		withOptions(nodeAction("act"), id("skipped"))))
	got := h.c.WaitDone("a1")
	if c := conclusions(got); c != "0:success 1:success 2:success 3:success 4:success 5:success 6:failure 7:skipped 8:skipped 9:success 10:success 11:success" {
		t.Fatal(c, names(t, got.Last().GetSteps()))
	}
	if l := logOf(got, 2); !strings.HasPrefix(l, "::save-state") && !strings.Contains(l, "INPUT_TWO_WORDS-X=3\n") || !strings.HasSuffix(l, "\nact\n") {
		t.Errorf("%q", l)
	}
	// Last in, first out; each has its own state, and a step that was skipped has no post step to run.
	if logOf(got, 5) != "abc\n" || logOf(got, 9) != "post inner  inner \n" || logOf(got, 10) != "post me env me env\n" {
		t.Errorf("%q %q %q", logOf(got, 5), logOf(got, 9), logOf(got, 10))
	}
}

func TestANodeActionWithoutNode(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	act := nodeAction("act")
	act.GetAction().GetNode().Version = 24
	h.c.Offer(job("a1", makeNode("act", "echo no", "echo no"), act))
	got := h.c.WaitDone("a1")
	if c := conclusions(got); c != "0:success 1:success 2:failure 3:skipped 4:success" {
		t.Fatal(c)
	}
	if f := got.Last().GetFailure(); f.GetFault() != corev1.Fault_FAULT_USER || !strings.Contains(f.GetMessage(), "is written for Node.js 24") || !strings.Contains(f.GetMessage(), "it has 20.1.0") {
		t.Error(f)
	}
}

// TestThePostOfANodeAction: its condition looks at the job, and its failure fails the job.
func TestThePostOfANodeAction(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	never, fails := nodeAction("act"), nodeAction("act")
	never.GetAction().GetNode().PostIf = "failure()"
	h.c.Offer(job("a1", makeNode("act", "echo main", "exit 7"), never, fails))
	got := h.c.WaitDone("a1")
	if c := conclusions(got); c != "0:success 1:success 2:success 3:success 4:failure 5:failure 6:success" {
		t.Fatal(c)
	}
	if got.Last().GetResult() != corev1.Result_RESULT_FAILURE || !strings.Contains(got.Last().GetFailure().GetMessage(), `"Post Run ./act"`) {
		t.Error(got.Last())
	}
}
