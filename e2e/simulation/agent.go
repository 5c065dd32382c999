package simulation

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-ci/slipway/agent/holder"
	"github.com/slipway-ci/slipway/agent/runner"
	"github.com/slipway-ci/slipway/agent/session"
	"github.com/slipway-ci/slipway/agent/state"
	"github.com/slipway-ci/slipway/agent/workspace"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

const (
	pool   = "default"
	jobCPU = 500
)

// agentProc is one agent process on its host. Its database and its pods outlive it.
type agentProc struct {
	*node
	w      *world
	host   *host
	dir    string
	slots  int
	labels []string

	end    context.CancelFunc
	db     *state.DB
	holder *holder.Holder
	client *session.Client
}

// boot starts the process on what the last one left.
func (a *agentProc) boot() error {
	a.start(a.w.l.between(-5*time.Minute, 5*time.Minute))
	ctx, end := context.WithCancel(context.Background())
	a.end = end
	db, err := state.Open(filepath.Join(a.dir, "state"), "boot")
	if err != nil {
		return err
	}
	records, err := db.Load()
	if err != nil {
		return err
	}
	layout, err := workspace.NewLayout(a.dir, filepath.Join(a.dir, "run"))
	if err != nil {
		return err
	}
	h := holder.New(records)
	a.db, a.holder = db, h
	life := a.life
	a.client = session.New(session.Config{
		Hostname: a.name, Version: "sim", Capacity: &fleetv1.Capacity{Slots: uint32(a.slots), CpuMilli: int64(a.slots) * jobCPU * 2}, DiskFree: func() int64 { return 1 << 40 },
		Condition: func() (int, []string) { return h.Count(), nil }, Handler: h, Leased: h.Leased, Renew: h.Renew, Clock: a.node, Jitter: a.jitter, Log: a.w.log, Dial: func() (fleetv1.FleetServiceClient, io.Closer, error) { return a.dial(ctx, life) },
	})
	client := a.client
	a.holder.Start(ctx, holder.Config{Slots: a.slots, Forget: func(id string) { a.outbox(id+"/forget", func() { client.Forget(id) }) }, Go: func(id string, f func()) {
		a.w.l.park("actor/"+a.name+"/"+id, func() { a.w.wg.Go(f) })
	}, Deps: runner.Deps{
		Sandbox: &simSandbox{h: a.host, n: a.node, life: life}, DB: db, Layout: layout, Watcher: noWatcher{}, Remote: a.client, Report: func(r *corev1.Report) {
			a.outbox(fmt.Sprintf("%s/%06d", r.GetAttemptId(), r.GetSeq()), func() { client.Report(r) })
		},
		Clock: a.node, Jitter: a.jitter, Log: a.w.log, AgentName: a.name, Hostname: a.name,
	}})
	a.w.hist.add(a.name, nil, "starts with %d attempts on record", len(records))
	a.w.wg.Go(func() {
		_ = client.Run(ctx)
		h.Wait()
	})
	return nil
}

// outbox leaves what an actor puts into the session's outbox to the loop: whether the next report is there before the one before it is sent must not
// depend on which goroutine ran first.
func (a *agentProc) outbox(key string, put func()) { a.w.l.park("outbox/"+a.name+"/"+key, put) }

// crash is kill -9: the database stays as it is, pods live on.
func (a *agentProc) crash() {
	a.w.hist.add(a.name, nil, "is killed")
	a.kill()
	// Nothing that its goroutines still do on their way out is kept.
	if err := a.db.Close(); err != nil {
		a.w.l.fail("closing a database: %w", err)
	}
	a.end()
	for _, l := range a.w.net.links {
		if l.a == a && !l.clientOver {
			l.clientOver = true
			l.hangUp(a.w.l.between(0, 50*time.Millisecond))
		}
	}
}

// dial finds a coordinator as a load balancer would, which mostly knows who leads.
func (a *agentProc) dial(ctx context.Context, life int) (fleetv1.FleetServiceClient, io.Closer, error) {
	c, err := call(ctx, a.l, "dial/"+a.name, func(answer func(*coordinator, error)) {
		if !a.up || a.life != life {
			return
		}
		c := a.w.pick()
		a.after(a.l.between(200*time.Microsecond, 20*time.Millisecond), func() {
			if c == nil || !c.up || !a.w.net.reaches(a.node, c.node) {
				answer(nil, status.Error(codes.Unavailable, "simulated: no coordinator can be reached"))
				return
			}
			answer(c, nil)
		})
	})
	if err != nil {
		return nil, nil, err
	}
	return &fleetClient{a: a, c: c, life: life}, nopCloser{}, nil
}

type nopCloser struct{}

// Close implements io.Closer.
func (nopCloser) Close() error { return nil }

// noWatcher never says that a file has grown: all of it is read when its step has ended.
type noWatcher struct{}

// Watch implements logs.FileWatcher.
func (noWatcher) Watch(string) (<-chan struct{}, func()) { return nil, func() {} }

// fleetClient is a connection to one coordinator.
type fleetClient struct {
	fleetv1.FleetServiceClient
	a    *agentProc
	c    *coordinator
	life int
}

// Session implements fleetv1.FleetServiceClient.
func (f *fleetClient) Session(ctx context.Context, _ ...grpc.CallOption) (grpc.BidiStreamingClient[fleetv1.SessionRequest, fleetv1.SessionResponse], error) {
	l, err := call(ctx, f.a.l, "session/"+f.a.name, func(answer func(*link, error)) {
		if !f.c.up || f.c.stopping {
			answer(nil, errReset)
			return
		}
		answer(f.a.w.net.open(ctx, f.a, f.c), nil)
	})
	if err != nil {
		return nil, err
	}
	return l.client, nil
}

// PushLogs implements fleetv1.FleetServiceClient: the log store takes everything at once. Logs are not what is simulated here.
func (f *fleetClient) PushLogs(ctx context.Context, _ ...grpc.CallOption) (grpc.BidiStreamingClient[fleetv1.PushLogsRequest, fleetv1.PushLogsResponse], error) {
	return &logStream{ctx: ctx, wake: make(chan struct{}, 1)}, nil
}

type logStream struct {
	grpc.ClientStream
	ctx  context.Context
	wake chan struct{}
	mu   sync.Mutex
	acks []*fleetv1.PushLogsResponse
}

// Send implements the stream.
func (s *logStream) Send(r *fleetv1.PushLogsRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acks = append(s.acks, &fleetv1.PushLogsResponse{Step: r.GetStep(), Offset: r.GetOffset() + int64(len(r.GetData()))})
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return nil
}

// Recv implements the stream.
func (s *logStream) Recv() (*fleetv1.PushLogsResponse, error) {
	for {
		s.mu.Lock()
		if len(s.acks) > 0 {
			ack := s.acks[0]
			s.acks = s.acks[1:]
			s.mu.Unlock()
			return ack, nil
		}
		s.mu.Unlock()
		select {
		case <-s.wake:
		case <-s.ctx.Done():
			return nil, fmt.Errorf("simulated log stream: %w", s.ctx.Err())
		}
	}
}
