package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/bench/fleet"
	"github.com/slipway-ci/slipway/bench/measure"
	control "github.com/slipway-ci/slipway/coordinator/engine"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// legs of a run that waits.
const legs = 250

// waiting is a file of many jobs that no agent may take.
func waiting() []byte {
	var b bytes.Buffer
	b.WriteString("on: push\njobs:\n  only:\n    runs-on: [bench, nobody]\n    strategy: {matrix: {leg: [0")
	for i := 1; i < legs; i++ {
		fmt.Fprintf(&b, ", %d", i)
	}
	b.WriteString("]}}\n    steps:\n      - run: \"true\"\n")
	return b.Bytes()
}

// wait submits runs with so many jobs in all, which stay in the queue.
func (c *coordinator) wait(ctx context.Context, jobs int) error {
	res, err := c.client.Plan(ctx, &apiv1.PlanRunRequest{Project: "waiting", Path: "waiting.yml", Workflow: waiting()})
	if err != nil {
		return err
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(res.GetPlan())
	if err != nil {
		return err
	}
	digest, _, err := c.client.Upload(ctx, bytes.NewReader(data))
	for n := 0; n < jobs && err == nil; n += legs {
		_, _, err = c.srv.Control().Submit(ctx, control.Submission{RequestID: c.ids.New(), Project: "waiting", Plan: res.GetPlan(), PlanDigest: digest, Event: "push",
			Actor: "bench"})
	}
	return err
}

// Queue is how much 100,000 jobs that wait slow down the placement of one that need not: engine.queue100k.
func Queue(ctx context.Context, o Options) (_ []measure.Result, err error) {
	c, err := newCoordinator(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	f, err := c.fleet(ctx, 100, slots)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	before, err := c.placements(ctx, f, int(300*o.Scale))
	if err != nil {
		return nil, err
	}
	const jobs = 100_000
	if err := c.wait(ctx, jobs); err != nil {
		return nil, err
	}
	after, err := c.placements(ctx, f, int(300*o.Scale))
	if err != nil {
		return nil, err
	}
	return []measure.Result{{Name: "engine.queue100k", Value: after.P50, Unit: "ms", Better: measure.Lower, Baseline: before.P50, Ratio: after.P50 / before.P50, N: after.Offered,
		P50: after.P50, P99: after.P99, Against: "the same with an empty queue"}}, nil
}

// placements submits jobs one after the other, each when the one before has been finished.
func (c *coordinator) placements(ctx context.Context, f *fleet.Process, n int) (fleet.Stats, error) {
	const warm = 20
	for i := range warm + n {
		if i == warm {
			if _, err := f.Stats(); err != nil {
				return fleet.Stats{}, err
			}
		}
		finished := f.Finished()
		if err := c.submit(ctx, "bench"); err != nil {
			return fleet.Stats{}, err
		}
		for f.Finished() == finished {
			if _, more := <-f.Moved(); !more {
				return fleet.Stats{}, errors.New("the fleet has ended")
			}
		}
	}
	return f.Stats()
}

// Restart is how long a coordinator takes to lead again with 50,000 live jobs, half of them in runs of their own: engine.restart.
func Restart(ctx context.Context, o Options) (_ []measure.Result, err error) {
	c, err := newCoordinator(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	alone, err := c.restart(ctx)
	if err != nil {
		return nil, err
	}
	const jobs = 50_000
	if err := newLoad(ctx, c, "bench").some(jobs / 2); err != nil {
		return nil, err
	}
	if err := c.wait(ctx, jobs/2); err != nil {
		return nil, err
	}
	took := measure.Samples{}
	for range max(1, int(3*o.Scale)) {
		d, err := c.restart(ctx)
		if err != nil {
			return nil, err
		}
		took.Milliseconds(d)
	}
	base := measure.Samples{}
	base.Milliseconds(alone)
	return []measure.Result{measure.Compare("engine.restart", "ms", measure.Lower, took, base, "the same without jobs")}, nil
}

// restart stops the coordinator, and returns how long the next one took until it led.
func (c *coordinator) restart(ctx context.Context) (time.Duration, error) {
	if err := c.down(); err != nil {
		return 0, err
	}
	begun := time.Now()
	err := c.up(ctx)
	return time.Since(begun), err
}
