package agent_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/fake"
	"github.com/slipway-ci/slipway/agent/state"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

func TestAgentRestartInMidStepLosesNothing(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	gate := filepath.Join(h.dir, "gate")
	h.c.Offer(job("a1",
		sh("echo ::add-mask::s3cret; echo v=1 >> $GITHUB_OUTPUT", id("one")),
		sh("echo begun s3cret; while [ ! -e "+gate+" ]; do sleep 0.02; done; echo ended s3cret; echo w=2 >> $GITHUB_OUTPUT; echo X=y >> $GITHUB_ENV", id("two")),
		&planv1.Step{Condition: "success()", Kind: &planv1.Step_Run{Run: &planv1.Run{Script: exp("format('echo {0}{1}$X', steps.one.outputs.v, steps.two.outputs.w)")}}},
	))
	h.c.Wait("the step prints", func() bool { return logOf(h.c.Attempt("a1"), 2) == "begun ***\n" })
	h.down()
	// The step ends while no agent is there.
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	pod, err := h.world.Open().Attach(context.Background(), "a1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pod.Wait(context.Background(), "2"); err != nil {
		t.Fatal(err)
	}
	h.up()
	a := h.c.WaitDone("a1")
	if logOf(a, 2) != "begun ***\nended ***\n" || logOf(a, 3) != "12y\n" || a.Last().GetResult() != corev1.Result_RESULT_SUCCESS {
		t.Errorf("logs %q, %q, result %s", logOf(a, 2), logOf(a, 3), a.Last().GetResult())
	}
	h.c.Wait("the second Hello named the attempt", func() bool {
		return len(h.c.Hellos()) == 2 && fmt.Sprint(h.c.Hellos()[1].GetAttempts()) == "[a1]"
	})
}

// TestALogIsStoredThoughTheAgentWasKilledBeforeItNotedSo: its raw output is deleted by then, and must not be sent as an empty log.
func TestALogIsStoredThoughTheAgentWasKilledBeforeItNotedSo(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	gate := filepath.Join(h.dir, "gate")
	h.c.Offer(job("a1", sh("echo all of it"), sh("echo begun; while [ ! -e "+gate+" ]; do sleep 0.02; done")))
	raw := filepath.Join(h.dir, "data/attempts/a1/logs/1.raw")
	h.c.Wait("the second step prints", func() bool { return logOf(h.c.Attempt("a1"), 2) == "begun\n" })
	waitUntil(t, "the first log's output is deleted", func() bool {
		_, err := os.Stat(raw)
		return os.IsNotExist(err)
	})
	h.down()
	db, err := state.Open(filepath.Join(h.dir, "data/state"), state.Boot())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.SaveAck("a1", 1, state.Ack{}), db.Close()); err != nil {
		t.Fatal(err)
	}
	h.up()
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if a := h.c.WaitDone("a1"); logOf(a, 1) != "all of it\n" || !a.Logs[1].Ended {
		t.Errorf("log %q, ended %t", logOf(a, 1), a.Logs[1].Ended)
	}
	waitUntil(t, "nothing of the attempt is left", func() bool { _, err := os.Stat(filepath.Dir(raw)); return os.IsNotExist(err) })
}

// TestRestartsAnywhereRunEachStepOnce stops the agent at random moments of a chain of steps, again and again.
func TestRestartsAnywhereRunEachStepOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := newHost(t, fake.Options{})
		defer h.down()
		ran := filepath.Join(h.dir, "ran")
		var steps []*planv1.Step
		const n = 6
		for i := range n {
			steps = append(steps, sh(fmt.Sprintf("echo %d >> %s; echo out %d; echo ::add-mask::m%d; echo m%d; echo k=%d >> $GITHUB_OUTPUT; echo E%d=1 >> $GITHUB_ENV", i, ran, i, i, i, i, i), id(fmt.Sprintf("s%d", i))))
		}
		h.up()
		a := job("a1", steps...)
		a.Job.Outputs = []*planv1.Entry{entry("sum", exp("format('{0}{1}{2}', steps.s0.outputs.k, steps.s3.outputs.k, steps.s5.outputs.k)"))}
		h.c.Offer(a)
		for range rapid.IntRange(1, 5).Draw(rt, "restarts") {
			reports := rapid.IntRange(1, 3).Draw(rt, "reports")
			base := 0
			h.c.Wait("some reports", func() bool {
				at := h.c.Attempt("a1")
				if base == 0 {
					base = len(at.Reports) + reports
				}
				return len(at.Reports) >= base || at.Done()
			})
			h.down()
			h.up()
		}
		got := h.c.WaitDone("a1")
		if got.Last().GetResult() != corev1.Result_RESULT_SUCCESS || len(got.Last().GetOutputs()) != 1 || got.Last().GetOutputs()[0].GetValue() != "035" {
			rt.Fatalf("result %s %v, outputs %v", got.Last().GetResult(), got.Last().GetFailure(), got.Last().GetOutputs())
		}
		text, err := os.ReadFile(ran)
		if err != nil || string(text) != "0\n1\n2\n3\n4\n5\n" {
			rt.Fatalf("the steps ran as %q, %v", text, err)
		}
		for i := range n {
			if want := fmt.Sprintf("out %d\n::add-mask::***\n***\n", i); logOf(got, uint32(i+1)) != want {
				rt.Fatalf("log %d is %q, want %q", i+1, logOf(got, uint32(i+1)), want)
			}
		}
	})
}

func TestCoordinatorOutageKillsNoJob(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	gate := filepath.Join(h.dir, "gate")
	h.c.Offer(job("a1", sh("echo begun; while [ ! -e "+gate+" ]; do sleep 0.02; done; seq 1 20000"), sh("echo second")))
	h.c.Wait("the step prints", func() bool { return logOf(h.c.Attempt("a1"), 1) == "begun\n" })
	h.c.Down()
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	pod, err := h.world.Open().Attach(context.Background(), "a1")
	if err != nil {
		t.Fatal(err)
	}
	// The job goes on by itself: its second step begins and ends without a coordinator.
	waitStep(t, pod, "2")
	h.c.Up()
	a := h.c.WaitDone("a1")
	var want strings.Builder
	want.WriteString("begun\n")
	for i := range 20000 {
		fmt.Fprintln(&want, i+1)
	}
	if logOf(a, 1) != want.String() || logOf(a, 2) != "second\n" {
		t.Errorf("logs of %d and %d bytes, want %d", len(logOf(a, 1)), len(logOf(a, 2)), want.Len())
	}
}

// waitStep waits for a step that may not have begun yet.
func waitStep(t *testing.T, pod sandbox.Pod, step string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := pod.Wait(ctx, step); err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("step %s never ended", step)
		}
	}
}

func TestFencedAttemptsAreEndedAndLeaveNothing(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	for _, id := range []string{"killed", "fenced"} {
		h.c.Offer(job(id, sh("echo begun; exec sleep 600"), sh("echo no", cond("always()"))))
		h.c.Wait("the step prints", func() bool { return logOf(h.c.Attempt(id), 1) == "begun\n" })
	}
	h.c.Kill("killed")
	waitUntil(t, "the killed pod is gone", func() bool { return len(h.pods()) == 1 })
	h.c.Fence("fenced")
	h.down()
	// A pod of an agent before this one, of which no record is left.
	if _, err := h.world.Open().Create(context.Background(), sandbox.PodSpec{ID: "stray"}, nil); err != nil {
		t.Fatal(err)
	}
	h.up()
	waitUntil(t, "every pod is gone", func() bool { return len(h.pods()) == 0 })
	waitUntil(t, "every directory is gone", func() bool {
		for _, d := range []string{"data/attempts", "run/attempts"} {
			if e, err := os.ReadDir(filepath.Join(h.dir, d)); err != nil || len(e) > 0 {
				return false
			}
		}
		return true
	})
	h.c.Wait("nothing was reported as done", func() bool { return !h.c.Attempt("killed").Done() && !h.c.Attempt("fenced").Done() })
}

func waitUntil(t *testing.T, what string, cond func() bool) {
	t.Helper()
	limit := time.After(2 * time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func TestALostPodIsASystemFailure(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	h.c.Offer(job("a1", sh("echo begun; exec sleep 600"), sh("echo no", cond("always()"))))
	h.c.Wait("the step prints", func() bool { return logOf(h.c.Attempt("a1"), 1) == "begun\n" })
	h.world.KillPod("a1")
	a := h.c.WaitDone("a1")
	if f := a.Last().GetFailure(); f.GetCode() != "lost" || f.GetFault() != corev1.Fault_FAULT_SYSTEM || conclusions(a) != "0:success 1:failure 3:success" {
		t.Errorf("failure %v, steps %s", f, conclusions(a))
	}
	// The same when the pod vanished while no agent was there.
	h.c.Offer(job("a2", sh("echo begun; exec sleep 600")))
	h.c.Wait("the step prints", func() bool { return logOf(h.c.Attempt("a2"), 1) == "begun\n" })
	h.down()
	if err := h.world.Open().Remove(context.Background(), "a2"); err != nil {
		t.Fatal(err)
	}
	h.up()
	if f := h.c.WaitDone("a2").Last().GetFailure(); f.GetCode() != "lost" {
		t.Errorf("failure %v", f)
	}
}

func TestFinalReportIsKeptUntilAcknowledged(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	h.c.HoldAcks(true)
	h.c.Offer(job("a1", sh("echo hi")))
	h.c.WaitDone("a1")
	h.down()
	h.up()
	h.c.Wait("it is said again", func() bool { return h.c.Sessions() == 2 && len(h.c.Hellos()[1].GetAttempts()) == 1 })
	h.c.HoldAcks(false)
	h.down()
	h.up()
	waitUntil(t, "it is forgotten", func() bool {
		e, err := os.ReadDir(filepath.Join(h.dir, "data/attempts"))
		return err == nil && len(e) == 0
	})
}

func TestMetricsAreServed(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.cfg.MetricsAddr = "127.0.0.1:0"
	h.up()
	run(t, h, "a1", sh("echo hi"))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + h.agent.MetricsAddr() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(text), `slipway_agent_steps_total{conclusion="success"} 3`) || !strings.Contains(string(text), "slipway_agent_connected 1") {
		t.Errorf("metrics %v:\n%s", err, text)
	}
}
