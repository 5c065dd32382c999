// Package coordtest has what tests of the gateway and the API share: an engine.Control that behaves but schedules nothing, and a real
// TLS gRPC server around it.
package coordtest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// Control implements engine.Control in memory. The test plays the engine: it makes runs, offers attempts and ends them.
type Control struct {
	mu       sync.Mutex
	requests map[string]string
	runs     map[string]*apiv1.Run
	watchers map[string][]*watcher
	sessions map[string]*liveSession // by agent
	attempts map[string]*Attempt
	held     map[string]*HeldJob // by RUN/JOB

	// Submissions are what Submit took, in order.
	Submissions []engine.Submission
	// Events has one line for each call of a session's, for tests to wait on. Buffered; a full one drops.
	Events chan string
	// ReportGate, if set, is called before a report is applied, ConnectGate before Connect answers.
	ReportGate  func(*corev1.Report)
	ConnectGate func(context.Context)
}

// Attempt is one that the fake knows.
type Attempt struct {
	Ref engine.AttemptRef
	// Use is what AttemptSecrets answers.
	Use   engine.SecretUse
	Agent string
	Token string
	// Ended attempts are refused.
	Ended bool
	Last  *corev1.Report
}

type watcher struct {
	ch chan *apiv1.Run
}

type liveSession struct {
	engine.Session
	out engine.Outbox
}

// NewControl returns an empty one.
func NewControl() *Control {
	return &Control{requests: map[string]string{}, runs: map[string]*apiv1.Run{}, watchers: map[string][]*watcher{}, sessions: map[string]*liveSession{},
		attempts: map[string]*Attempt{}, Events: make(chan string, 10000)}
}

func (c *Control) event(format string, args ...any) {
	select {
	case c.Events <- fmt.Sprintf(format, args...):
	default:
	}
}

// PutRun makes or replaces a run and tells its watchers.
func (c *Control) PutRun(run *apiv1.Run) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.runs[run.GetId()] = run
	for _, w := range c.watchers[run.GetId()] {
		c.tell(w, run)
	}
	if run.GetState() >= corev1.RunState_RUN_STATE_SUCCEEDED {
		for _, w := range c.watchers[run.GetId()] {
			close(w.ch)
		}
		delete(c.watchers, run.GetId())
	}
}

// tell replaces what a slow watcher has not read.
func (c *Control) tell(w *watcher, run *apiv1.Run) {
	select {
	case <-w.ch:
	default:
	}
	w.ch <- proto.CloneOf(run)
}

// PutAttempt makes an attempt of an agent known.
func (c *Control) PutAttempt(a Attempt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempts[a.Ref.AttemptID] = &a
}

// EndAttempt makes the control refuse an attempt's token from now on.
func (c *Control) EndAttempt(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempts[id].Ended = true
}

// Last returns the newest report of an attempt.
func (c *Control) Last(id string) *corev1.Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.attempts[id].Last
}

// Outbox returns the outbox of an agent's session; nil if it has none.
func (c *Control) Outbox(agent string) engine.Outbox {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.sessions[agent]; s != nil {
		return s.out
	}
	return nil
}

// Submit implements engine.Control.
func (c *Control) Submit(_ context.Context, s engine.Submission) (string, uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if id, ok := c.requests[s.RequestID]; ok {
		return id, c.runs[id].GetNumber(), nil
	}
	c.Submissions = append(c.Submissions, s)
	number := uint64(len(c.Submissions))
	id := fmt.Sprintf("run%d", number)
	c.requests[s.RequestID] = id
	c.runs[id] = &apiv1.Run{Id: id, Number: number, Project: s.Project, State: corev1.RunState_RUN_STATE_QUEUED, Actor: s.Actor}
	return id, number, nil
}

// Cancel implements engine.Control.
func (c *Control) Cancel(ctx context.Context, requestID, runID, reason string) error {
	if _, err := c.Run(ctx, runID); err != nil {
		return err
	}
	c.event("cancel %s %s", runID, reason)
	return nil
}

// Run implements engine.Control.
func (c *Control) Run(_ context.Context, id string) (*apiv1.Run, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if run := c.runs[id]; run != nil {
		return proto.CloneOf(run), nil
	}
	return nil, rpcerr.New(rpcerr.NotFound, "no run %q", id)
}

// Runs implements engine.Control.
func (c *Control) Runs(_ context.Context, project string, limit int) ([]*apiv1.Run, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*apiv1.Run
	for _, run := range c.runs {
		if project == "" || run.GetProject() == project {
			out = append(out, proto.CloneOf(run))
		}
	}
	slices.SortFunc(out, func(a, b *apiv1.Run) int { return int(b.GetNumber()) - int(a.GetNumber()) })
	if limit == 0 {
		limit = 20
	}
	return out[:min(limit, len(out))], nil
}

// List implements engine.Lister.
func (c *Control) List(_ context.Context, q engine.RunQuery) (out []*apiv1.Run, next string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if q.Limit == 0 {
		q.Limit = 20
	}
	for _, run := range c.runs {
		head := &statev1.RunHeader{State: run.GetState(), CreatedMs: run.GetCreatedMs()}
		def := &statev1.RunDefinition{Project: run.GetProject(), Name: run.GetName(), Path: run.GetPath(), Source: run.GetSource(), Actor: run.GetActor()}
		if q.Matches(head, def) && (q.Before == "" || run.GetId() < q.Before) {
			out = append(out, proto.CloneOf(run))
		}
	}
	slices.SortFunc(out, func(a, b *apiv1.Run) int { return int(b.GetNumber()) - int(a.GetNumber()) })
	if len(out) >= q.Limit {
		out = out[:q.Limit]
		next = out[q.Limit-1].GetId()
	}
	return out, next, nil
}

// Watch implements engine.Control.
func (c *Control) Watch(ctx context.Context, id string) (<-chan *apiv1.Run, error) {
	run, err := c.Run(ctx, id)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	w := &watcher{ch: make(chan *apiv1.Run, 1)}
	w.ch <- run
	if run.GetState() >= corev1.RunState_RUN_STATE_SUCCEEDED {
		close(w.ch)
		return w.ch, nil
	}
	c.watchers[id] = append(c.watchers[id], w)
	context.AfterFunc(ctx, func() { c.unwatch(id, w) })
	return w.ch, nil
}

func (c *Control) unwatch(id string, w *watcher) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.watchers[id], w); i >= 0 {
		c.watchers[id] = slices.Delete(c.watchers[id], i, i+1)
		close(w.ch)
	}
}

// Agents implements engine.Control.
func (c *Control) Agents(context.Context) ([]*apiv1.Agent, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*apiv1.Agent
	for _, s := range c.sessions {
		out = append(out, &apiv1.Agent{Id: s.AgentID, Hostname: s.Hostname, Pool: s.Pool, Labels: s.Labels, State: "online"})
	}
	return out, nil
}
