package simulation

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/gateway"
	"github.com/slipway-ci/slipway/coordinator/identity"
	"github.com/slipway-ci/slipway/coordinator/logs"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	"github.com/slipway-ci/slipway/internal/tlsutil"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// Times of the fleet, shorter than the defaults, so that more happens.
const (
	heartbeat = 3 * time.Second
	// idleHeartbeat is that of an agent without work.
	idleHeartbeat = 9 * time.Second
	deadline      = 10 * time.Second
	grace         = 30 * time.Second
)

// coordinator is one coordinator process: gateway, and, while it leads, an engine.
type coordinator struct {
	*node
	w   *world
	dir string

	life    context.Context //nolint:containedctx // the life of the process
	end     context.CancelFunc
	control *control
	gateway *gateway.Gateway
	// engine is what the loop steps.
	engine atomic.Pointer[engine.Engine]
	// stopping: it hands over.
	stopping bool
}

// boot starts the process.
func (c *coordinator) boot() error {
	c.start(c.w.l.between(-5*time.Minute, 5*time.Minute))
	c.stopping = false
	c.life, c.end = context.WithCancel(context.Background())
	store, err := logs.Open(filepath.Join(c.dir, "logs"), slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	h := &handle{s: c.w.store, n: c.node, life: c.node.life}
	c.control = &control{c: c, life: c.node.life}
	agents := config.Agents{Heartbeat: config.Duration(heartbeat), IdleHeartbeat: config.Duration(idleHeartbeat), Deadline: config.Duration(deadline), Grace: config.Duration(grace)}
	c.gateway = gateway.New(gateway.Deps{Control: c.control, Logs: store, Agents: agents, Clock: c.node, NewID: c.newID, Log: c.w.log})
	c.w.hist.add(c.name, nil, "starts")
	life, control, gw := c.life, c.control, c.gateway
	c.w.wg.Go(func() {
		c.lead(life, h, control, gw)
		gw.Stop()
	})
	return nil
}

// lead campaigns, runs an engine for each term, and campaigns again, as coordinator/server does.
func (c *coordinator) lead(ctx context.Context, h *handle, control *control, gw *gateway.Gateway) {
	for ctx.Err() == nil {
		c.term(ctx, h, control, gw)
		pause := make(chan struct{})
		stop := c.AfterFunc(500*time.Millisecond, func() { close(pause) })
		select {
		case <-ctx.Done():
		case <-pause:
		}
		stop()
	}
}

func (c *coordinator) term(ctx context.Context, h *handle, control *control, gw *gateway.Gateway) {
	t, err := h.Campaign(ctx)
	if err != nil {
		return
	}
	defer func() {
		if err := t.Close(context.WithoutCancel(ctx)); err != nil {
			c.w.log.Warn("handing over", "error", err)
		}
	}()
	e, err := engine.New(ctx, engine.Config{Store: h, Term: t, Plans: c.w.plans, Runners: runners, Clock: c.node, NewID: c.newID, Random: c.dice, Log: c.w.log,
		SessionDeadline: deadline + idleHeartbeat - heartbeat, Grace: grace, DefaultCPUMilli: jobCPU, External: c.w.o.external, Mutants: c.w.o.Mutants})
	if err != nil {
		return
	}
	e.Arm()
	control.set(e)
	c.engine.Store(e)
	select {
	case <-ctx.Done():
	case <-e.Done():
	case <-t.Done():
	}
	c.engine.CompareAndSwap(e, nil)
	control.set(nil)
	// Those whose calls the engine has just refused end their sessions by themselves first.
	_, _ = call(context.WithoutCancel(ctx), c.w.l, "lead/"+c.name, func(answer func(struct{}, error)) { answer(struct{}{}, nil) })
	gw.EndSessions()
	e.Close()
}

// crash is kill -9.
func (c *coordinator) crash() {
	c.w.hist.add(c.name, nil, "is killed")
	c.kill()
	c.engine.Store(nil)
	c.end()
	for _, l := range c.w.net.links {
		if l.c == c && !l.serverOver {
			l.serverOver = true
			l.server.cancel()
			if l.w.net.reaches(l.a.node, c.node) {
				l.a.after(c.w.l.between(0, 50*time.Millisecond), func() { l.broken(errReset) })
			} else {
				l.a.after(brokenAfter, func() { l.broken(errReset) })
			}
		}
	}
}

// handOver ends the process in order; the next one begins later.
func (c *coordinator) handOver() {
	c.w.hist.add(c.name, nil, "is asked to stop")
	c.stopping = true
	c.end()
}

// serve runs the handler of one session.
func (c *coordinator) serve(l *link) {
	if c.stopping || l.server.ctx.Err() != nil {
		l.returned(errReset)
		return
	}
	a := l.a
	principal := identity.Principal{Kind: identity.Agent, Name: a.name, Expires: c.Now().Add(1000 * time.Hour), Agent: tlsutil.AgentIdentity{ID: a.name, Pool: pool, Labels: a.labels}}
	l.server.ctx = grpc.NewContextWithServerTransportStream(identity.WithPrincipal(l.server.ctx, principal), transportStream{l.server})
	gw, life := c.gateway, c.node.life
	c.w.wg.Go(func() {
		err := gw.Session(l.server)
		if _, ok := status.FromError(err); !ok {
			err = status.FromContextError(err).Err() // as a gRPC server does
		}
		c.w.l.park(fmt.Sprintf("link/%06d/returned", l.id), func() {
			if c.up && c.node.life == life && !l.serverOver {
				c.w.hist.add(c.name, nil, "ends link %d with %s: %v", l.id, a.name, err)
				l.returned(err)
			}
		})
	})
}

// control is the way from gateway and API to the leader. Calls that come at one time are let through in the order of their content.
type control struct {
	engine.Control
	c    *coordinator
	life int
	e    atomic.Pointer[engine.Engine]
}

func (k *control) set(e *engine.Engine) { k.e.Store(e) }

// enter waits for the caller's turn, and returns the engine.
func (k *control) enter(ctx context.Context, key string) (*engine.Engine, error) {
	_, err := call(ctx, k.c.l, "control/"+k.c.name+"/"+key, func(answer func(struct{}, error)) { answer(struct{}{}, nil) })
	if err != nil {
		return nil, err
	}
	if e := k.e.Load(); e != nil && k.c.up && k.c.node.life == k.life {
		return e, nil
	}
	return nil, rpcerr.New(rpcerr.NotLeader, "this coordinator does not lead now; try again")
}

// Connect implements engine.Control.
func (k *control) Connect(ctx context.Context, s engine.Session, out engine.Outbox) ([]string, error) {
	e, err := k.enter(ctx, "connect/"+s.AgentID+"/"+s.ID)
	if err != nil {
		return nil, err
	}
	return e.Connect(ctx, s, out)
}

// OfferReply implements engine.Control.
func (k *control) OfferReply(ctx context.Context, session string, r *fleetv1.OfferReply) error {
	e, err := k.enter(ctx, "offer/"+r.GetAttemptId()+"/"+session)
	if err != nil {
		return err
	}
	return e.OfferReply(ctx, session, r)
}

// Report implements engine.Control.
func (k *control) Report(ctx context.Context, session string, r *corev1.Report) error {
	e, err := k.enter(ctx, fmt.Sprintf("report/%s/%06d/%s", r.GetAttemptId(), r.GetSeq(), session))
	if err != nil {
		return err
	}
	return e.Report(ctx, session, r)
}

// Disconnect implements engine.Control.
func (k *control) Disconnect(agent, session string) {
	k.c.l.park("control/"+k.c.name+"/zdisconnect/"+agent+"/"+session, func() {
		if e := k.e.Load(); e != nil {
			e.Disconnect(agent, session)
		}
	})
}

// AckHeartbeat implements engine.Control.
func (k *control) AckHeartbeat(agent, session string, echo uint64) {
	k.c.l.park("control/"+k.c.name+"/ack/"+agent+"/"+session, func() {
		if e := k.e.Load(); e != nil {
			e.AckHeartbeat(agent, session, echo)
		}
	})
}

// Heartbeat implements engine.Control.
func (k *control) Heartbeat(agent, session string, free int64) {
	k.c.l.park("control/"+k.c.name+"/beat/"+agent+"/"+session, func() {
		if e := k.e.Load(); e != nil {
			e.Heartbeat(agent, session, free)
		}
	})
}

// AgentCondition implements engine.Control.
func (k *control) AgentCondition(agent, session string, held uint32, problems []string) {
	k.c.l.park("control/"+k.c.name+"/condition/"+agent+"/"+session, func() {
		if e := k.e.Load(); e != nil {
			e.AgentCondition(agent, session, held, problems)
		}
	})
}

// DrainAgent implements engine.Control.
func (k *control) DrainAgent(ctx context.Context, r engine.DrainRequest) (*apiv1.Agent, error) {
	e, err := k.enter(ctx, "drain/"+r.Agent+"/"+r.RequestID)
	if err != nil {
		return nil, err
	}
	return e.DrainAgent(ctx, r)
}

// ResumeAgent implements engine.Control.
func (k *control) ResumeAgent(ctx context.Context, agent string) (*apiv1.Agent, error) {
	e, err := k.enter(ctx, "resume/"+agent)
	if err != nil {
		return nil, err
	}
	return e.ResumeAgent(ctx, agent)
}

// Submit implements engine.Control.
func (k *control) Submit(ctx context.Context, s engine.Submission) (string, uint64, error) {
	e, err := k.enter(ctx, "submit/"+s.RequestID)
	if err != nil {
		return "", 0, err
	}
	return e.Submit(ctx, s)
}

// Rerun implements engine.Control.
func (k *control) Rerun(ctx context.Context, q engine.RerunRequest) (engine.Rerun, error) {
	e, err := k.enter(ctx, "rerun/"+q.RequestID)
	if err != nil {
		return engine.Rerun{}, err
	}
	return e.Rerun(ctx, q)
}

// Cancel implements engine.Control.
func (k *control) Cancel(ctx context.Context, request, run, reason string) error {
	e, err := k.enter(ctx, "cancel/"+run)
	if err != nil {
		return err
	}
	return e.Cancel(ctx, request, run, reason)
}

// tempDir makes a directory for one simulation.
func tempDir() (dir string, remove func(), err error) {
	dir, err = os.MkdirTemp("", "slipway-sim-*")
	if err != nil {
		return "", nil, err
	}
	return dir, func() { _ = os.RemoveAll(dir) }, nil
}
