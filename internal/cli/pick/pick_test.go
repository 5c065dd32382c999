package pick

import (
	"context"
	"errors"
	"testing"

	"github.com/slipway-ci/slipway/internal/cli/exit"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

type newest []*apiv1.Run

func (n newest) Runs(context.Context, string, uint32) ([]*apiv1.Run, error) { return n, nil }

const ulid = "01m80k0v1djphfe8h9kp8jvms0"

// TestHowRunsAreNamed: whatever is shown as a run's name is taken as one, with and without the sign that a shell takes for a comment.
func TestHowRunsAreNamed(t *testing.T) {
	api := newest{{Id: ulid, Number: 12, Attempt: 2}}
	for _, tt := range []struct {
		arg     string
		attempt uint32
		want    string
	}{
		{"", 0, ulid}, {"latest", 0, ulid}, {"latest", 1, ulid + ".1"},
		{"12", 0, "#12"}, {"#12", 0, "#12"}, {"12.1", 0, "#12.1"}, {"#12.1", 0, "#12.1"}, {"12", 1, "#12.1"}, {"#12", 1, "#12.1"},
		{"123456", 0, "#123456"}, {"1234567.2", 0, "#1234567.2"},
		{ulid, 0, ulid}, {ulid, 1, ulid + ".1"}, {ulid[:6], 0, ulid[:6]}, {"012345", 0, "012345"}, {"nope", 0, "nope"},
	} {
		var args []string
		if tt.arg != "" {
			args = []string{tt.arg}
		}
		if got, err := Attempt(t.Context(), api, "", args, tt.attempt); err != nil || got != tt.want {
			t.Errorf("%q --attempt %d is %q, %v; want %q", tt.arg, tt.attempt, got, err, tt.want)
		}
	}
	if _, err := Attempt(t.Context(), api, "", []string{"#12.1"}, 2); exit.Of(err) != exit.Invalid {
		t.Errorf("two attempts are named: %v", err)
	}
	var e *exit.Error
	if _, err := Run(t.Context(), newest{}, "", nil); !errors.As(err, &e) || e.Code != exit.Invalid {
		t.Errorf("there are no runs: %v", err)
	}
}
