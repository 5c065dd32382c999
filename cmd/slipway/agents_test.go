package main

import (
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/internal/apitest"
	"github.com/slipway-ci/slipway/internal/cli/exit"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

func agentServer(t *testing.T) *apitest.Server {
	t.Helper()
	s := apitest.Start(t)
	s.ListedAgents = []*apiv1.Agent{
		{Id: "agent1", Hostname: "build-1", Pool: "default", Labels: []string{"gpu"}, State: "online", Schedule: "schedulable", Version: "1.2", Slots: 4, SlotsUsed: 1, CpuMilli: 8000,
			CpuUsedMilli: 2500, Memory: 16 << 30, MemoryUsed: 1 << 30, DiskFree: 5 << 30,
			Work: []*apiv1.AgentWork{{RunNumber: 7, JobId: "test", JobName: "test (20)", State: corev1.AttemptState_ATTEMPT_STATE_RUNNING, Attempt: 2, OfferedMs: 1_700_000_000_000}}},
		{Id: "agent2", Hostname: "evil\x1b[31m", State: "online", Schedule: "schedulable", Problems: []string{"degraded: the agent's database can't be written; free space"}, Why: "is not connected"},
	}
	return s
}

func TestAgentsAreShownDrainedResumedAndRemoved(t *testing.T) {
	c := newCLI(t, agentServer(t))
	run := func(want exit.Code, texts []string, args ...string) {
		t.Helper()
		c.stdout, c.stderr = &buffer{}, &buffer{}
		if code := c.app().main(t.Context(), args); code != want {
			t.Errorf("slipway %s: exit code %d, want %d: %s", strings.Join(args, " "), code, want, c.stderr)
		}
		for _, text := range texts {
			if all := c.stdout.String() + c.stderr.String(); !strings.Contains(all, text) {
				t.Errorf("slipway %s does not say %q:\n%s", strings.Join(args, " "), text, all)
			}
		}
	}
	run(exit.OK, []string{"online,degraded", "build-1"}, "agents", "ls")
	run(exit.OK, []string{"1 of 4 in use", "2.5 of 8.0 reserved", "5.0 GiB free", "test (20) of run #7", "running", "attempt 2", "gpu"}, "agents", "show", "build-1")
	run(exit.OK, []string{"problem   degraded: the agent's database", "no work   it is not connected"}, "agents", "show", "agent2")
	if strings.Contains(c.stdout.String(), "\x1b") {
		t.Error("a host name talks to the terminal")
	}
	run(exit.OK, []string{`"cpu_used_milli": "2500"`, `"schedule": "schedulable"`}, "agents", "show", "agent1", "-o", "json")
	run(exit.Invalid, []string{"there is no agent nobody"}, "agents", "show", "nobody")
	run(exit.Invalid, []string{"Usage:"}, "agents", "drain")
	run(exit.Invalid, []string{"--deadline -1m"}, "agents", "drain", "agent1", "--deadline", "-1m")
	run(exit.Invalid, []string{"has 1 jobs"}, "agents", "rm", "agent1")
	run(exit.OK, []string{"given no new work, 1 jobs go on", "deadline"}, "agents", "drain", "agent1")
	run(exit.OK, []string{"takes work again"}, "agents", "resume", "build-1")
	run(exit.OK, []string{"is drained: nothing runs there"}, "agents", "drain", "agent1", "--wait", "--reason", "disk")
	run(exit.OK, []string{"removed agent agent1"}, "agents", "rm", "agent1", "--force")
	run(exit.Invalid, []string{"there is no agent agent1"}, "agents", "show", "agent1")
	run(exit.OK, []string{"agent2"}, "__complete", "agents", "show", "ag")
}
