package show

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/internal/tui"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

func TestHeldJobsAndWhoWasInThem(t *testing.T) {
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) int64 { return now.Add(d).UnixMilli() }
	run := &apiv1.Run{Number: 12, State: corev1.RunState_RUN_STATE_FAILED, Jobs: []*apiv1.Job{
		{Id: "test.1", Name: "test (a)", State: corev1.JobState_JOB_STATE_FAILED, Held: &corev1.Held{UntilMs: at(30 * time.Minute)},
			DebugSessions: []*corev1.DebugSession{
				{User: "ada", StartedMs: at(-time.Minute), EndedMs: at(-30 * time.Second), Command: []string{"ls", "-l"}, ExitCode: 2, BytesIn: 1, BytesOut: 2048},
				{User: "bob", StartedMs: at(-time.Second)}}},
		{Id: "it's", State: corev1.JobState_JOB_STATE_FAILED, Held: &corev1.Held{UntilMs: at(48 * time.Hour)}},
		{Id: "old", State: corev1.JobState_JOB_STATE_FAILED, Held: &corev1.Held{ReleasedMs: at(-time.Hour), Released: "ada let it go"}},
	}}
	var out strings.Builder
	if err := Run(&out, run, "", tui.Style{}, now); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"held until 12:30:00: slipway debug '#12.1' test.1\n", "11:59:00 ada ran ls -l for ", "exit code 2, ", "bob ran a shell for ", ": goes on\n",
		"held until 2026-05-06 12:00:00: slipway debug '#12.1' 'it'\\''s'\n", "was held until 11:00:00: ada let it go\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
	out.Reset()
	if err := Ended(&out, run, now); err != nil || strings.Count(out.String(), "its pod is held until") != 2 {
		t.Errorf("%v:\n%s", err, out.String())
	}
}
