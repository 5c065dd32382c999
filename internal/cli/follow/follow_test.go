package follow

import (
	"context"
	"fmt"
	"slices"
	"testing"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// scripted is a run that has ended, whose logs are there before anybody asks for its state.
type scripted struct {
	run  *apiv1.Run
	logs []*apiv1.StreamLogsResponse
}

func (s *scripted) Watch(_ context.Context, _ string, seen func(*apiv1.Run) error) error {
	return seen(s.run)
}

func (s *scripted) Logs(_ context.Context, _ *apiv1.StreamLogsRequest, seen func(*apiv1.StreamLogsResponse) error) error {
	for _, l := range s.logs {
		if err := seen(l); err != nil {
			return err
		}
	}
	return nil
}

func (s *scripted) Cancel(context.Context, string, string) error { return nil }

// recorder is a Display that notes what it is shown.
type recorder struct {
	Display
	shown []string
}

func (r *recorder) Run(v *apiv1.Run) { r.shown = append(r.shown, "run "+v.GetId()) }

func (r *recorder) Log(run string, l *apiv1.StreamLogsResponse) {
	r.shown = append(r.shown, fmt.Sprintf("log of %s in %s: %s", l.GetJobId(), run, l.GetData()))
}

// TestARunsHeadingComesBeforeItsLogs, whichever of the two streams is quicker; logs of jobs that an earlier attempt ran are not shown.
func TestARunsHeadingComesBeforeItsLogs(t *testing.T) {
	api := &scripted{
		run:  &apiv1.Run{Id: "r", State: corev1.RunState_RUN_STATE_SUCCEEDED, Jobs: []*apiv1.Job{{Id: "build", KeptAttempt: 1}, {Id: "test"}}},
		logs: []*apiv1.StreamLogsResponse{{JobId: "build", Data: []byte("old")}, {JobId: "test", Data: []byte("one")}, {JobId: "late", Data: []byte("two")}},
	}
	d := &recorder{Display: Quiet()}
	out, err := Follow(t.Context(), api, []string{"r"}, d, Options{LogPatience: 1 << 40})
	if err != nil || out.Runs[0] != api.run {
		t.Fatal(out, err)
	}
	if want := []string{"run r", "log of test in r: one", "log of late in r: two"}; !slices.Equal(d.shown, want) {
		t.Errorf("shown %q, want %q", d.shown, want)
	}
}
