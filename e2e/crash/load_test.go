package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/coordinator/server"
	"github.com/slipway-ci/slipway/internal/id"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	"github.com/slipway-ci/slipway/sdk/client"
)

// workers submit one run after the other; each waits for the end of its own.
const workers = 16

// load is runs that are submitted, watched and checked until it is told to stop.
type load struct {
	t      *testing.T
	client *client.Client
	ids    *id.Source
	stop   chan struct{}
	wg     sync.WaitGroup

	mu sync.Mutex
	// runs by the request that made them; marks by the run.
	runs    map[string]*apiv1.SubmitRunResponse
	marks   map[string]string
	repeats int
}

func newClient(t *testing.T, s *system) *client.Client {
	t.Helper()
	token, err := os.ReadFile(filepath.Join(s.dir, "data", server.AdminTokenFile))
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Config{Address: s.address, Token: strings.TrimSpace(string(token)), FirstPatience: time.Minute, Patience: 5 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Release)
	return c
}

func startLoad(ctx context.Context, t *testing.T, c *client.Client) *load {
	l := &load{t: t, client: c, ids: id.NewSource(time.Now), stop: make(chan struct{}), runs: map[string]*apiv1.SubmitRunResponse{}, marks: map[string]string{}}
	for w := range workers {
		l.wg.Go(func() { l.work(ctx, w) })
	}
	return l
}

func (l *load) end() {
	close(l.stop)
	l.wg.Wait()
}

func (l *load) work(ctx context.Context, w int) {
	r := rand.New(rand.NewPCG(*seed, uint64(w))) //nolint:gosec // a replayable choice, no secret
	for n := 0; ctx.Err() == nil; n++ {
		select {
		case <-l.stop:
			return
		default:
		}
		if err := l.one(ctx, fmt.Sprintf("w%02d-%06d", w, n), r); err != nil {
			l.t.Errorf("worker %d, run %d: %v", w, n, err)
			return
		}
	}
}

// workflow is two jobs, one after the other; the second needs what the first one says.
func workflow(mark string) []byte {
	return []byte("on: push\njobs:\n  a:\n    runs-on: crash\n    env: {MARK: " + mark + "-a}\n    steps:\n      - run: \"true\"\n" +
		"  b:\n    needs: a\n    runs-on: crash\n    env: {MARK: " + mark + "-b}\n    steps:\n      - run: \"true\"\n")
}

func (l *load) one(ctx context.Context, mark string, r *rand.Rand) error {
	req := &apiv1.SubmitRunRequest{RequestId: l.ids.New(), Project: "crash", Path: "crash.yml", Event: "push", Workflow: workflow(mark)}
	res, err := l.client.Submit(ctx, req)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.runs[req.GetRequestId()] = res
	l.marks[res.GetRunId()] = mark
	l.mu.Unlock()
	if r.IntN(3) == 0 {
		if err := l.again(ctx, req, res); err != nil {
			return err
		}
	}
	var last *apiv1.Run
	if err := l.client.Watch(ctx, res.GetRunId(), func(v *apiv1.Run) error { last = v; return nil }); err != nil {
		return fmt.Errorf("watching %s: %w", res.GetRunId(), err)
	}
	if err := l.check(ctx, mark, last); err != nil {
		return fmt.Errorf("run %s: %w", res.GetRunId(), err)
	}
	return l.again(ctx, req, res)
}

// again repeats a submit, which must have its first answer.
func (l *load) again(ctx context.Context, req *apiv1.SubmitRunRequest, want *apiv1.SubmitRunResponse) error {
	got, err := l.client.Submit(ctx, req)
	if err != nil {
		return fmt.Errorf("submitting again: %w", err)
	}
	if got.GetRunId() != want.GetRunId() || got.GetRunNumber() != want.GetRunNumber() {
		return fmt.Errorf("submitted again it is run %s, number %d, and was %s, %d", got.GetRunId(), got.GetRunNumber(), want.GetRunId(), want.GetRunNumber())
	}
	l.mu.Lock()
	l.repeats++
	l.mu.Unlock()
	return nil
}

// check holds an ended run against what must come of it.
func (l *load) check(ctx context.Context, mark string, run *apiv1.Run) error {
	if run.GetState() != corev1.RunState_RUN_STATE_SUCCEEDED || len(run.GetJobs()) != 2 {
		return fmt.Errorf("it ended as %s: %v, with %d jobs", run.GetState(), run.GetFailure(), len(run.GetJobs()))
	}
	for _, job := range run.GetJobs() {
		if job.GetState() != corev1.JobState_JOB_STATE_SUCCEEDED {
			return fmt.Errorf("job %s ended as %s: %v", job.GetId(), job.GetState(), job.GetFailure())
		}
		var log strings.Builder
		err := l.client.Logs(ctx, &apiv1.StreamLogsRequest{RunId: run.GetId(), JobId: job.GetId(), Follow: true}, func(m *apiv1.StreamLogsResponse) error {
			log.Write(m.GetData())
			return nil
		})
		if err != nil {
			return fmt.Errorf("the log of job %s: %w", job.GetId(), err)
		}
		// Of what the agent itself says there, the mark is no part.
		if want := mark + "-" + job.GetId() + "\n"; strings.Count(log.String(), want) != 1 {
			return fmt.Errorf("the log of job %s does not have %q once: %q", job.GetId(), want, log.String())
		}
	}
	return nil
}

// whole sees that there are exactly the runs that were asked for, and that every job of them ran once.
func (l *load) whole(ctx context.Context, dir string) {
	t := l.t
	numbers := map[uint64]string{}
	for request, res := range l.runs {
		if other, twice := numbers[res.GetRunNumber()]; twice {
			t.Errorf("requests %s and %s are both run %d", request, other, res.GetRunNumber())
		}
		numbers[res.GetRunNumber()] = request
	}
	newest, err := l.client.Runs(ctx, "crash", 1)
	if err != nil || len(newest) != 1 {
		t.Fatalf("listing: %v, %v", newest, err)
	}
	if got, want := newest[0].GetNumber(), uint64(len(l.runs)); got != want {
		t.Errorf("the newest run is number %d, and %d were submitted", got, want)
	}
	data, err := os.ReadFile(ranFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	ran := map[string]int{}
	for mark := range strings.Lines(string(data)) {
		ran[strings.TrimSpace(mark)]++
	}
	for run, mark := range l.marks {
		for _, job := range []string{"a", "b"} {
			if n := ran[mark+"-"+job]; n != 1 {
				t.Errorf("run %s: job %s ran %d times", run, job, n)
			}
			delete(ran, mark+"-"+job)
		}
	}
	for mark, n := range ran {
		t.Errorf("%s ran %d times, and nobody was told of such a run", mark, n)
	}
}
