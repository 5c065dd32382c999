package runner

import (
	"errors"
	"log/slog"
	"slices"
	"testing"

	"github.com/slipway-ci/slipway/agent/sandbox/fake"
	"github.com/slipway-ci/slipway/agent/state"
	"github.com/slipway-ci/slipway/agent/workspace"
	"github.com/slipway-ci/slipway/internal/clock"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// TestAVisitorAfterARestartSeesTheJobsEnvironment: the process that held the pod first is gone, and with it what it had evaluated.
func TestAVisitorAfterARestartSeesTheJobsEnvironment(t *testing.T) {
	layout, err := workspace.NewLayout(t.TempDir(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	text := func(s string) *planv1.Value { return &planv1.Value{Kind: &planv1.Value_Literal{Literal: s}} }
	job := &planv1.Job{
		Id: "j", Env: []*planv1.Entry{{Name: "OF_THE_JOB", Value: text("seen")}},
		Steps: []*planv1.Step{{Condition: "success()", Kind: &planv1.Step_Run{Run: &planv1.Run{Script: text("exit 1")}}}},
	}
	failed := &state.Step{Number: 1, State: corev1.StepState_STEP_STATE_FAILED, Outcome: corev1.Result_RESULT_FAILURE, Conclusion: corev1.Result_RESULT_FAILURE}
	a, err := Resume(Deps{
		Sandbox: fake.NewWorld(fake.Options{}).Open(), Layout: layout, Clock: clock.Real{}, Log: slog.New(slog.DiscardHandler), Report: func(*corev1.Report) {},
	}, &state.Record{
		Assignment: &fleetv1.Assignment{AttemptId: "a1", Job: job}, Progress: &state.Progress{Phase: state.PhaseDone, Steps: []*state.Step{failed}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(a.dirs.Make(), a.writeBase(), a.dirs.WritePrivate(outputsFile, a.values.outputs), a.open()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		a.logs.Close()
		for _, r := range a.roots {
			_ = r.Close()
		}
	}()
	spec, place := a.visitSpec(t.Context(), &fleetv1.Attach{SessionId: "s"})
	if !slices.Contains(spec.Env, "OF_THE_JOB=seen") || place.GetStep() != 1 {
		t.Errorf("step %d, %q", place.GetStep(), spec.Env)
	}
}
