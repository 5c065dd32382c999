package runfilter_test

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/internal/cli/runfilter"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

func TestRequest(t *testing.T) {
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	r, err := runfilter.Flags{Project: "p", Commit: "ABC", Status: []string{"failed", "live"}, Since: "7d", Until: "2026-03-10"}.Request(now)
	if err != nil {
		t.Fatal(err)
	}
	if r.GetCommit() != "abc" || r.GetSinceMs() != now.AddDate(0, 0, -7).UnixMilli() || r.GetUntilMs() != now.Add(-12*time.Hour).UnixMilli() {
		t.Errorf("%v", r)
	}
	if s := r.GetStates(); len(s) != 7 || s[0] != corev1.RunState_RUN_STATE_FAILED || s[1] != corev1.RunState_RUN_STATE_CREATING {
		t.Errorf("states: %v", s)
	}
	if r, err := (runfilter.Flags{Since: "90m"}).Request(now); err != nil || r.GetSinceMs() != now.Add(-90*time.Minute).UnixMilli() {
		t.Errorf("%v, %v", r, err)
	}
	for _, c := range []struct {
		f    runfilter.Flags
		want string
	}{
		{runfilter.Flags{Commit: "main"}, "--commit"}, {runfilter.Flags{Status: []string{"done"}}, "want cancelled, cancelling"}, {runfilter.Flags{Since: "yesterday"}, "--since"},
		{runfilter.Flags{Since: "1h", Until: "2h"}, "not before"}, {runfilter.Flags{Until: "-3h"}, "--until"},
	} {
		if _, err := c.f.Request(now); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.f, err)
		}
	}
}
