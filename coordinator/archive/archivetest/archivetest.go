// Package archivetest makes finished runs for whoever tests what becomes of them: a real engine on a store, real blobs and logs, and one agent
// that ends every job as soon as it is offered, without a network in between.
package archivetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/coordinator/blob"
	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/leader"
	"github.com/slipway-ci/slipway/coordinator/logs"
	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/internal/clock"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// Slots of the agent.
const Slots = 256

// House is an engine with its agent.
type House struct {
	Engine *engine.Engine
	Store  store.Store
	Term   leader.Term
	Blobs  blob.Store
	Logs   *logs.Store
	NewID  func() string

	log   *slog.Logger
	work  chan *fleetv1.Assignment
	stop  chan struct{}
	group sync.WaitGroup

	// Log is what each job says; it may be changed while nothing runs. Result is how it ends.
	Log    func(jobID string) []byte
	Result corev1.Result
	// Artifact, if set, is the content of an artifact of each job.
	Artifact func(jobID string) []byte
	// Silent agents report an end without its log bytes.
	Silent bool
}

// Config of a House.
type Config struct {
	Store   store.Store
	Blobs   blob.Store
	Logs    *logs.Store
	Clock   clock.Clock
	NewID   func() string
	Slog    *slog.Logger
	History engine.History
	Sealer  func(runID string, endedMS int64)
	// Key of the election; each House of a store is a new term.
	Key string
}

// New starts a House in a new term. Close it.
func New(ctx context.Context, c Config) (*House, error) {
	term, err := (&leader.Single{Store: c.Store, Key: c.Key, Name: c.NewID()}).Campaign(ctx)
	if err != nil {
		return nil, fmt.Errorf("campaigning: %w", err)
	}
	e, err := engine.New(ctx, engine.Config{Store: c.Store, Term: term, Plans: engine.BlobPlans{Blobs: c.Blobs}, Clock: c.Clock, NewID: c.NewID, Random: rand.Reader,
		Runners: map[string]config.Runner{"any": {Image: config.NoImage, Pool: config.DefaultPool}}, Log: c.Slog, History: c.History, Sealer: c.Sealer,
		// The agent never goes away, whatever a clock that somebody moves says.
		SessionDeadline: 10_000 * time.Hour, Tick: 10_000 * time.Hour})
	if err != nil {
		return nil, err
	}
	e.Start()
	h := &House{Engine: e, Store: c.Store, Term: term, Blobs: c.Blobs, Logs: c.Logs, NewID: c.NewID, log: c.Slog, work: make(chan *fleetv1.Assignment, 2*Slots),
		stop: make(chan struct{}), Log: func(job string) []byte { return []byte("this is job " + job + "\n") }, Result: corev1.Result_RESULT_SUCCESS}
	session := c.NewID()
	if _, err := e.Connect(ctx, engine.Session{ID: session, AgentID: "agent", Hostname: "agent", Pool: config.DefaultPool, Capacity: &fleetv1.Capacity{Slots: Slots}}, outbox{h}); err != nil {
		e.Close()
		return nil, err
	}
	for range 16 {
		h.group.Go(func() { h.run(context.WithoutCancel(ctx), session) })
	}
	return h, nil
}

// Close ends the agent and the engine.
func (h *House) Close() {
	close(h.stop)
	h.Engine.Close()
	h.group.Wait()
}

type outbox struct{ h *House }

func (o outbox) Send(m *fleetv1.SessionResponse) {
	if a := m.GetOffer().GetAssignment(); a != nil {
		o.h.work <- a // it holds more than the agent has slots
	}
}

func (outbox) End(error) {}

func (h *House) run(ctx context.Context, session string) {
	for {
		select {
		case <-h.stop:
			return
		case a := <-h.work:
			if err := h.attempt(ctx, session, a); err != nil && !h.stopped() {
				h.log.Error("the agent failed", "attempt", a.GetAttemptId(), "error", err)
			}
		}
	}
}

func (h *House) stopped() bool {
	select {
	case <-h.stop:
		return true
	default:
		return false
	}
}

func (h *House) attempt(ctx context.Context, session string, a *fleetv1.Assignment) error {
	if err := h.Engine.OfferReply(ctx, session, &fleetv1.OfferReply{AttemptId: a.GetAttemptId(), Accepted: true}); err != nil {
		return err
	}
	steps := []*corev1.StepStatus{{Number: 1, Name: "work", State: corev1.StepState_STEP_STATE_RUNNING}}
	report := &corev1.Report{AttemptId: a.GetAttemptId(), Seq: 1, State: corev1.AttemptState_ATTEMPT_STATE_RUNNING, Steps: steps}
	if err := h.Engine.Report(ctx, session, report); err != nil {
		return err
	}
	sums, err := h.writeLog(a)
	if err != nil {
		return err
	}
	if err := h.upload(ctx, a); err != nil {
		return err
	}
	done := &corev1.Report{AttemptId: a.GetAttemptId(), Seq: 2, State: corev1.AttemptState_ATTEMPT_STATE_DONE, Result: h.Result, Logs: sums,
		Steps: []*corev1.StepStatus{{Number: 1, Name: "work", State: corev1.StepState_STEP_STATE_SUCCEEDED, Outcome: h.Result, Conclusion: h.Result}}}
	if h.Result == corev1.Result_RESULT_FAILURE {
		done.Failure = &corev1.Failure{Code: "step-failed", Fault: corev1.Fault_FAULT_USER, Message: "it was told to fail"}
	}
	return h.Engine.Report(ctx, session, done)
}

// writeLog does what a gateway does.
func (h *House) writeLog(a *fleetv1.Assignment) ([]*corev1.LogSum, error) {
	text := h.Log(a.GetJobId())
	sum := sha256.Sum256(text)
	attempt := a.GetAttemptId()
	if err := h.Logs.Register(logs.Meta{Run: a.GetRunId(), Job: a.GetJobId(), Attempt: attempt, Agent: "agent"}); err != nil {
		return nil, err
	}
	if len(text) > 0 && !h.Silent {
		w, err := h.Logs.Writer(attempt, 1)
		if err != nil {
			return nil, err
		}
		err = w.Append(0, text, true)
		w.Close()
		if err != nil {
			return nil, err
		}
	}
	hexSum := hex.EncodeToString(sum[:])
	err := h.Logs.Finish(attempt, []logs.Sum{{Step: 1, Length: int64(len(text)), SHA256: hexSum}})
	return []*corev1.LogSum{{Step: 1, Length: int64(len(text)), Sha256: hexSum}}, err
}

func (h *House) upload(ctx context.Context, a *fleetv1.Assignment) error {
	if h.Artifact == nil {
		return nil
	}
	digest, size, err := h.Blobs.Put(ctx, bytes.NewReader(h.Artifact(a.GetJobId())))
	if err != nil {
		return err
	}
	ref, err := h.Engine.Attempt(ctx, "agent", a.GetAttemptId(), a.GetToken())
	if err != nil {
		return err
	}
	return h.Engine.AddArtifact(ctx, ref, &corev1.Artifact{Name: "result-" + a.GetJobId(), Digest: digest, Size: size, JobId: a.GetJobId(), AttemptId: a.GetAttemptId(), RetentionDays: 3}, false)
}

// Plan is one of jobs without needs.
func Plan(name string, jobs ...string) *planv1.Plan {
	p := &planv1.Plan{Schema: 1, Path: ".slipway/" + name + ".yml", Name: name, Images: map[string]string{"any": config.NoImage}}
	for _, id := range jobs {
		p.Jobs = append(p.Jobs, &planv1.Job{Id: id, Condition: "success()", RunsOn: []*planv1.Value{{Kind: &planv1.Value_Literal{Literal: "any"}}},
			Steps: []*planv1.Step{{Name: lit("work")}}})
	}
	return p
}

func lit(s string) *planv1.Value { return &planv1.Value{Kind: &planv1.Value_Literal{Literal: s}} }

// Submission of a plan, whose blob is stored if it is not yet.
func (h *House) Submission(ctx context.Context, project, ref string, p *planv1.Plan) (engine.Submission, error) {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
	if err != nil {
		return engine.Submission{}, err
	}
	digest, _, err := h.Blobs.Put(ctx, bytes.NewReader(data))
	if err != nil {
		return engine.Submission{}, err
	}
	return engine.Submission{RequestID: h.NewID(), Project: project, Plan: p, PlanDigest: digest, Event: "push", Actor: "ada",
		Source: &corev1.Source{Repository: "team/app", Sha: "abc0000000000000000000000000000000000000", Ref: ref}}, nil
}

// Finish runs a plan to its end.
func (h *House) Finish(ctx context.Context, project, ref string, p *planv1.Plan) (runID string, err error) {
	s, err := h.Submission(ctx, project, ref, p)
	if err != nil {
		return "", err
	}
	runID, _, err = h.Engine.Submit(ctx, s)
	if err != nil {
		return "", err
	}
	changes, err := h.Engine.Watch(ctx, runID)
	if err != nil {
		return "", err
	}
	last := corev1.RunState_RUN_STATE_UNSPECIFIED
	for run := range changes {
		last = run.GetState()
	}
	if last < corev1.RunState_RUN_STATE_SUCCEEDED {
		return "", errors.New("the watch ended before its run")
	}
	// The engine tells its watchers a moment before the sealer: once it answers again, both know.
	if _, err := h.Engine.Agents(ctx); err != nil {
		return "", err
	}
	return runID, nil
}
