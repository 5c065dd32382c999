package show

import (
	"bytes"
	"strings"
	"testing"
	"time"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

func TestWhatADeadlineMeansToJobs(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	for want, d := range map[string]*apiv1.AgentDrain{
		"in 1m0s: what still runs is cancelled then":                   {DeadlineMs: now.UnixMilli() + 60_000},
		"what still ran is being cancelled":                            {DeadlineMs: now.UnixMilli() - 1},
		"in 1m0s: the agent leaves then, and what still runs lives on": {DeadlineMs: now.UnixMilli() + 60_000, Own: true},
	} {
		var b bytes.Buffer
		if err := Agent(&b, &apiv1.Agent{Schedule: "draining", Drain: d}, now); err != nil || !strings.Contains(b.String(), want) {
			t.Errorf("%v does not say %q:\n%s", err, want, &b)
		}
	}
}
