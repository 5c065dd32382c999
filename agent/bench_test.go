package agent_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/agent"
	"github.com/slipway-ci/slipway/agent/agenttest"
	"github.com/slipway-ci/slipway/agent/sandbox/fake"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"

	"log/slog"
)

// BenchmarkStepOverhead is what the agent adds to each step of a chain: the fake's steps take no time.
func BenchmarkStepOverhead(b *testing.B) {
	c := agenttest.Start(b)
	world := fake.NewWorld(fake.Options{})
	sb := world.Open()
	defer sb.Close()
	dir := b.TempDir()
	a, err := agent.New(agent.Config{Address: c.Addr(), DataDir: dir, JoinToken: c.JoinToken(), Hostname: "bench"}, sb, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	ctx := b.Context()
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	const steps = 50
	var list []*planv1.Step
	for range steps {
		list = append(list, sh("true"))
	}
	n := 0
	for b.Loop() {
		n++
		id := fmt.Sprintf("b%d", n)
		c.Offer(job(id, list...))
		c.WaitDone(id)
	}
	b.ReportMetric(float64(b.Elapsed())/float64(n*steps)/float64(time.Microsecond), "µs/step")
}
