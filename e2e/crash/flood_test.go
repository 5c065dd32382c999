package crash

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/slipway-ci/slipway/coordinator/config"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	"github.com/slipway-ci/slipway/sdk/client"
)

// TestAFloodLetsAnotherProjectIn counts instead of measuring: between the submit of a single job and its start no more jobs of the flood may start than
// all slots take in two rounds.
func TestAFloodLetsAnotherProjectIn(t *testing.T) {
	if testing.Short() {
		t.Skip("-short is given: no coordinator is started")
	}
	s := newSystem(t)
	coordinator := s.start("coordinator")
	defer func() { _ = coordinator.kill(syscall.SIGTERM) }()
	await(t, coordinator)
	c := newClient(t, s)
	token, err := c.CreateJoinToken(t.Context(), client.JoinToken{Pool: config.DefaultPool, Uses: agents})
	if err != nil {
		t.Fatal(err)
	}
	hosts := s.start("agents", tokenEnv+"="+token.Secret)
	defer func() { _ = hosts.kill(syscall.SIGTERM) }()
	await(t, hosts)
	const jobs, legs = 1000, 250
	for n := range jobs / legs {
		if _, err := c.Submit(t.Context(), &apiv1.SubmitRunRequest{Project: "flood", Path: "flood.yml", Workflow: flood(n, legs)}); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 3 {
		mark := fmt.Sprintf("single%d", n)
		file := "on: push\njobs:\n  a:\n    runs-on: crash\n    env: {MARK: " + mark + "}\n    steps:\n      - run: \"true\"\n"
		res, err := c.Submit(t.Context(), &apiv1.SubmitRunRequest{Project: "other", Path: "single.yml", Workflow: []byte(file)})
		if err != nil {
			t.Fatal(err)
		}
		before := len(begun(t, s))
		if err := c.Watch(t.Context(), res.GetRunId(), func(*apiv1.Run) error { return nil }); err != nil {
			t.Fatal(err)
		}
		at := slices.Index(begun(t, s), mark)
		if at < 0 {
			t.Fatalf("%s never began", mark)
		}
		if passed := at - before; passed >= 2*agents*slotsPerAgent {
			t.Errorf("%d jobs of the flood began before %s, with %d slots", passed, mark, agents*slotsPerAgent)
		}
	}
	// The test is about a flood only if it is still there.
	if n := len(begun(t, s)); n > jobs/2 {
		t.Errorf("%d of %d jobs of the flood had begun: it was over", n, jobs)
	}
}

// begun are the marks of the jobs that have begun, in order.
func begun(t *testing.T, s *system) []string {
	t.Helper()
	data, err := os.ReadFile(ranFile(s.dir))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(data))
}

// flood is a file of many jobs.
func flood(n, legs int) []byte {
	var b strings.Builder
	b.WriteString("on: push\njobs:\n  a:\n    runs-on: crash\n    strategy:\n      fail-fast: false\n      matrix: {leg: [0")
	for i := 1; i < legs; i++ {
		fmt.Fprintf(&b, ", %d", i)
	}
	fmt.Fprintf(&b, "]}\n    env: {MARK: \"flood%d-${{ matrix.leg }}\"}\n    steps:\n      - run: \"true\"\n", n)
	return []byte(b.String())
}
