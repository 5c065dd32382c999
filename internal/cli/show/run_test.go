package show

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/internal/tui"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

func TestRunSaysAReasonOnceAndNothingToTheTerminal(t *testing.T) {
	r := &apiv1.Run{Name: "CI\x1b[2J", Jobs: []*apiv1.Job{{
		Id: "a", Name: "a\x1b[5A", Reason: "interrupted", State: corev1.JobState_JOB_STATE_CANCELLED,
		Failure:     &corev1.Failure{Code: "cancelled", Message: "the run was cancelled: interrupted"},
		Steps:       []*corev1.StepStatus{{Number: 1, Name: "s\x1b]0;t\a"}},
		Annotations: []*corev1.Annotation{{Level: "error", Message: "\x1b[31mone\x1b[0m\ntwo"}},
	}}}
	var b strings.Builder
	if err := Run(&b, r, "https://ci.example.test/runs/x", tui.Style{}, time.UnixMilli(1000)); err != nil {
		t.Fatal(err)
	}
	if strings.Count(b.String(), "interrupted") != 1 || strings.ContainsRune(b.String(), '\x1b') || !strings.Contains(b.String(), "error: one two") {
		t.Errorf("%q", b.String())
	}
}
