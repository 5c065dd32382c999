package agent_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/agent/sandbox/fake"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// A report is protobuf: one that can't be marshalled, or that no coordinator takes, would end every session of this agent,
// and with it every other job's.
func TestNothingThatAStepSaysBreaksTheReport(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	long := strings.Repeat("x", 60_000)
	as := job("a1",
		sh(`printf 'o=a\xff\xfeb\n' >> $GITHUB_OUTPUT; printf 'E=c\xff\n' >> $GITHUB_ENV; printf '::error title=t\xff::m\xff\n::warning file=f\xff::`+long+`\n'`, id("s")),
		sh(`printf '%s\n' "$E" >> $GITHUB_OUTPUT`, func(s *planv1.Step) {
			s.Name = &planv1.Value{Kind: &planv1.Value_Expr{Expr: "format('step {0}', steps.s.outputs.o)"}}
		}),
	)
	as.Job.Outputs = []*planv1.Entry{entry("o", exp("steps.s.outputs.o"))}
	h.c.Offer(as)
	a := h.c.WaitDone("a1")
	if got := a.Last().GetOutputs(); len(got) != 1 || got[0].GetValue() != "a\uFFFDb" {
		t.Errorf("outputs %v", got)
	}
	if got := step(t, a, 2); got.GetName() != "step a\uFFFDb" || !strings.Contains(got.GetFailure().GetMessage(), "Invalid format 'c\uFFFD'") {
		t.Errorf("step 2: %v", got)
	}
	if len(a.Last().GetAnnotations()) < 3 {
		t.Fatalf("annotations %v", a.Last().GetAnnotations())
	}
	for _, n := range a.Last().GetAnnotations() {
		if len(n.GetMessage()) > 8<<10 {
			t.Errorf("an annotation of %d bytes", len(n.GetMessage()))
		}
	}
}

func TestAReportStaysSmallWhateverStepsSay(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	long := strings.Repeat("y", 4000)
	noisy := sh(`for i in 1 2 3 4 5 6 7 8 9 10; do for k in error warning notice; do echo "::$k::` + long + `"; done; done`)
	endless := sh(`head -c 9000000 /dev/zero | tr '\0' z >> $GITHUB_OUTPUT`, func(s *planv1.Step) { s.ContinueOnError = lit("true") })
	steps := []*planv1.Step{endless, endless}
	for range 40 {
		steps = append(steps, noisy)
	}
	h.c.Offer(job("a1", steps...))
	a := h.c.WaitDone("a1")
	if r := a.Last(); r.GetResult() != corev1.Result_RESULT_SUCCESS || len(r.String()) > 2<<20 {
		t.Errorf("%s, %d bytes", r.GetResult(), len(r.String()))
	}
}

func TestManyOutputsAndMasksCostLittle(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	h.c.Offer(job("a1",
		sh(`i=0; while [ $i -lt 2000 ]; do echo "::add-mask::secret-number-$i-of-many"; i=$((i+1)); done; seq -f 'k%.0f=v' 15000 >> $GITHUB_OUTPUT; seq -f 'K%.0f=v' 2000 >> $GITHUB_ENV`),
		sh(`seq -f 'a usual line that says secret-number-%.0f-of-many and more' 40000`),
	))
	a := h.c.WaitDone("a1")
	if a.Last().GetResult() != corev1.Result_RESULT_SUCCESS {
		t.Fatalf("%v", a.Last().GetFailure())
	}
	h.c.Wait("the log is stored", func() bool { return h.c.Attempt("a1").Logs[2] != nil && h.c.Attempt("a1").Logs[2].Ended })
	lines := strings.Split(logOf(h.c.WaitDone("a1"), 2), "\n")
	if len(lines) != 40001 || lines[10] != "a usual line that says *** and more" || lines[5000] != "a usual line that says secret-number-5001-of-many and more" {
		t.Errorf("%d lines, %q, %q", len(lines), lines[10], lines[5000])
	}
}

func TestTooManyMasksEndTheJobAndShowNothing(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	as := job("a1",
		sh(`echo o=last-secret >> $GITHUB_OUTPUT; echo last-secret >> $GITHUB_STEP_SUMMARY; seq -f '::add-mask::secret-%.0f' 10000; echo '::add-mask::last-secret'; echo last-secret`, id("s"),
			func(s *planv1.Step) { s.ContinueOnError = lit("true") }),
		sh(`echo last-secret`, cond("always()")),
	)
	as.Job.Outputs = []*planv1.Entry{entry("o", exp("steps.s.outputs.o"))}
	h.c.Offer(as)
	a := h.c.WaitDone("a1")
	if r := a.Last(); r.GetFailure().GetCode() != "too-many-masks" || len(r.GetOutputs()) != 0 || conclusions(a) != "0:success 1:failure 3:success" {
		t.Errorf("%s, outputs %v, steps %s", r.GetFailure(), r.GetOutputs(), conclusions(a))
	}
	for n := range a.Logs {
		if strings.Contains(logOf(a, n), "last-secret") {
			t.Errorf("the log of step %d shows what was to be hidden", n)
		}
	}
}

func TestAMaskThatIsNotTextHidesAfterARestart(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	gate := filepath.Join(h.dir, "gate")
	h.c.Offer(job("a1",
		sh(`printf '::add-mask::s3\xffcret\n'`),
		sh(`printf 'begun s3\xffcret\n'; while [ ! -e `+gate+` ]; do sleep 0.02; done; printf 'ended s3\xffcret\n'`),
		sh(`printf 'and s3\xffcret\n'`),
	))
	h.c.Wait("the step prints", func() bool { return logOf(h.c.Attempt("a1"), 2) == "begun ***\n" })
	h.down()
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.up()
	if a := h.c.WaitDone("a1"); logOf(a, 2) != "begun ***\nended ***\n" || logOf(a, 3) != "and ***\n" {
		t.Errorf("logs %q and %q", logOf(a, 2), logOf(a, 3))
	}
}

func TestWhatStepsHandOnIsBounded(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	var steps []*planv1.Step
	for range 6 {
		steps = append(steps, sh(`(printf o=; head -c 15000000 /dev/zero | tr '\0' z) >> $GITHUB_OUTPUT`))
	}
	h.c.Offer(job("a1", steps...))
	a := h.c.WaitDone("a1")
	if f := a.Last().GetFailure(); f.GetFault() != corev1.Fault_FAULT_USER || !strings.Contains(f.GetMessage(), "more than 64 MiB") {
		t.Errorf("%v", f)
	}
}

func TestCommandFilesThatAreNoFilesFailTheStepOnly(t *testing.T) {
	for name, script := range map[string]string{
		"a link outside": `ln -sf /etc/passwd $GITHUB_OUTPUT`,
		"a pipe":         `rm $GITHUB_OUTPUT; mkfifo $GITHUB_OUTPUT`,
		"a directory":    `rm $GITHUB_ENV; mkdir $GITHUB_ENV`,
		"the folder":     `d=$(dirname $GITHUB_OUTPUT); mv $d $d.old; ln -s /etc $d`,
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, fake.Options{})
			h.up()
			a := run(t, h, "a1", sh(script), sh("echo on", cond("always()")))
			if a.Last().GetFailure().GetFault() == corev1.Fault_FAULT_SYSTEM || conclusions(a) != "0:success 1:failure 2:success 3:success" && name != "the folder" {
				t.Errorf("%s: %v", conclusions(a), a.Last().GetFailure())
			}
			if strings.Contains(a.Last().String(), "root:") {
				t.Error("the agent read a file of the host")
			}
			t.Log(a.Last().GetFailure().GetMessage())
		})
	}
}
