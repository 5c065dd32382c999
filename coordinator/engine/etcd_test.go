package engine

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/coordinator/leader/etcdleader"
	"github.com/slipway-ci/slipway/coordinator/store/etcdstore"
	"github.com/slipway-ci/slipway/internal/clock"
	"github.com/slipway-ci/slipway/internal/id"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// robot is an agent that finishes whatever it is offered.
type robot struct {
	control Control
	session string
	offers  chan *fleetv1.Assignment
}

func (r *robot) Send(m *fleetv1.SessionResponse) {
	if o := m.GetOffer(); o != nil {
		r.offers <- o.GetAssignment()
	}
}

func (r *robot) End(error) {}

func (r *robot) work(ctx context.Context, fail func(error)) {
	for {
		select {
		case <-ctx.Done():
			return
		case as := <-r.offers:
			reports := []*corev1.Report{
				{Seq: 1, State: corev1.AttemptState_ATTEMPT_STATE_RUNNING, Steps: []*corev1.StepStatus{{Number: 1, State: corev1.StepState_STEP_STATE_RUNNING}}},
				{Seq: 2, State: corev1.AttemptState_ATTEMPT_STATE_DONE, Result: corev1.Result_RESULT_SUCCESS},
			}
			if err := r.control.OfferReply(ctx, r.session, &fleetv1.OfferReply{AttemptId: as.GetAttemptId(), Accepted: true}); err != nil {
				fail(err)
				return
			}
			for _, rep := range reports {
				rep.AttemptId = as.GetAttemptId()
				if err := r.control.Report(ctx, r.session, rep); err != nil {
					fail(err)
					return
				}
			}
		}
	}
}

// onEtcd leads on a real embedded etcd, with a robot of many slots.
func onEtcd(tb testing.TB) (*Engine, planMap) {
	tb.Helper()
	dir, err := os.MkdirTemp("", "etcd")
	if err != nil {
		tb.Fatal(err)
	}
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	etcd, err := etcdstore.Start(context.Background(), etcdstore.EmbedConfig{Dir: filepath.Join(dir, "data"), Socket: filepath.Join(dir, "s"), Log: quiet})
	if err != nil {
		tb.Fatal(err)
	}
	elector := etcdleader.New(etcdleader.Config{Client: etcd.Client(), Prefix: root + "leader/", Name: "t", Exclusive: true, Clock: clock.Real{}, Log: quiet})
	plans := planMap{}
	term, err := elector.Campaign(context.Background())
	if err != nil {
		tb.Fatal(err)
	}
	e, err := New(context.Background(), Config{Store: etcd.Store(), Term: term, Plans: plans, Clock: clock.Real{}, NewID: id.NewSource(time.Now).New, Random: rand.Reader, Log: quiet,
		Runners: map[string]config.Runner{"ubuntu-latest": {Image: "runner", Pool: "default"}}})
	if err != nil {
		tb.Fatal(err)
	}
	e.Start()
	ctx, cancel := context.WithCancel(context.Background())
	a := &robot{control: e, session: "session-1", offers: make(chan *fleetv1.Assignment, 1000)}
	if _, err := e.Connect(ctx, Session{ID: a.session, AgentID: "robot", Pool: "default", Capacity: &fleetv1.Capacity{Slots: 64}}, a); err != nil {
		tb.Fatal(err)
	}
	worked := make(chan struct{})
	go func() {
		defer close(worked)
		a.work(ctx, func(err error) {
			if ctx.Err() == nil {
				tb.Error(err)
			}
		})
	}()
	tb.Cleanup(func() {
		cancel()
		<-worked
		e.Close()
		_ = term.Close(context.Background())
		_ = etcd.Close()
		_ = os.RemoveAll(dir)
	})
	return e, plans
}

func follow(tb testing.TB, e *Engine, sub Submission) *apiv1.Run {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	runID, _, err := e.Submit(ctx, sub)
	if err != nil {
		tb.Fatal(err)
	}
	watch, err := e.Watch(ctx, runID)
	if err != nil {
		tb.Fatal(err)
	}
	var last *apiv1.Run
	for v := range watch {
		last = v
	}
	return last
}

func TestRunsOnEtcd(t *testing.T) {
	e, plans := onEtcd(t)
	p := plan(legs(job("test"), 30), job("last", "test"))
	plans["sha256:0"] = p
	newID := id.NewSource(time.Now)
	for range 3 {
		v := follow(t, e, Submission{RequestID: newID.New(), Project: "p", Plan: p, PlanDigest: "sha256:0"})
		if v.GetState() != corev1.RunState_RUN_STATE_SUCCEEDED || len(v.GetJobs()) != 31 {
			t.Fatalf("%v", v)
		}
	}
}

// BenchmarkNoopRun is the engine's own share of a one-job run, submit to finished, on the embedded etcd.
func BenchmarkNoopRun(b *testing.B) {
	e, plans := onEtcd(b)
	p := plan(job("build"))
	plans["sha256:0"] = p
	newID := id.NewSource(time.Now)
	for b.Loop() {
		if v := follow(b, e, Submission{RequestID: newID.New(), Project: "p", Plan: p, PlanDigest: "sha256:0"}); v.GetState() != corev1.RunState_RUN_STATE_SUCCEEDED {
			b.Fatalf("%v", v)
		}
	}
}
