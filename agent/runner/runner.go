package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/slipway-ci/slipway/agent/glob"
	"github.com/slipway-ci/slipway/agent/logs"
	"github.com/slipway-ci/slipway/agent/native"
	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/state"
	"github.com/slipway-ci/slipway/agent/workspace"
	"github.com/slipway-ci/slipway/internal/clock"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// Deps are what every attempt of an agent shares.
type Deps struct {
	Sandbox sandbox.Sandbox
	DB      *state.DB
	Layout  *workspace.Layout
	Watcher logs.FileWatcher
	Remote  native.Remote
	// Report takes the newest state of an attempt; it must not block.
	Report  func(*corev1.Report)
	Natives map[string]native.Action
	Clock   clock.Clock
	// Jitter spreads repeated tries: a duration in [0, d). nil is random.
	Jitter func(d time.Duration) time.Duration
	// Tracer; nil traces nothing.
	Tracer  trace.Tracer
	Metrics *Metrics
	Log     *slog.Logger
	// AgentName is `runner.name`.
	AgentName string
	// Hostname for people.
	Hostname string
}

// Times of the runner's own.
const (
	// Grace is the time from TERM to KILL.
	Grace = 10 * time.Second
	// CleanupLimit is how long steps whose `if` holds may run after a cancellation or the job's deadline.
	CleanupLimit = 5 * time.Minute
	// probeTimeout bounds the small commands that the agent itself runs in a pod.
	probeTimeout = 30 * time.Second
)

// errDetached: the agent stops; the attempt lives on in its pod.
var errDetached = errors.New("runner: the agent is stopping")

// errKilled: the attempt is fenced.
var errKilled = errors.New("runner: the attempt is fenced")

// Attempt is the actor of one attempt. Make it with New or Resume, then call Run once.
type Attempt struct {
	d    Deps
	a    *fleetv1.Assignment
	p    *state.Progress
	id   string
	log  *slog.Logger
	dirs workspace.Dirs
	// paths are what steps are told of dirs.
	paths workspace.Paths

	entries []entry
	values  values
	// frames of composite actions, by number.
	frames map[uint32]*frame
	acked  map[uint32]state.Ack
	scope  scope
	roots  []*os.Root
	trees  []glob.Tree
	pod    sandbox.Pod
	logs   *logs.Attempt
	// following are the logs of steps that run, by their numbers.
	following map[uint32]*logs.Step
	// ended logs whose result is not recorded yet; the next save records and releases them.
	unreleased []*logs.Step
	// spent are the command directories of steps that ended since the last save.
	spent []uint32
	// timers to stop when the actor ends.
	timers []func() bool
	// traced is the attempt's span; not valid if it is not traced.
	traced trace.SpanContext
	// secrets are in memory only; noSecrets is why there are none for a new attempt.
	secrets   []*fleetv1.SecretValue
	noSecrets error
	// resumed: an earlier process began this attempt.
	resumed bool

	notices notices
	lease   lease
	done    chan struct{}
}

// New takes an assignment and keeps it: when it returns, a killed agent would remember the attempt.
func New(d Deps, a *fleetv1.Assignment) (*Attempt, error) {
	t, err := prepareActor(d, a)
	if err != nil {
		return nil, err
	}
	t.p = &state.Progress{Phase: state.PhaseAccepted, StartedMS: d.Clock.Now().UnixMilli()}
	t.values.base.Token = a.GetToken()
	err = t.dirs.Make()
	if err == nil {
		err = t.writeBase()
	}
	if err == nil {
		err = d.DB.Create(a, t.p)
	}
	if err != nil {
		return nil, errors.Join(err, t.dirs.Remove())
	}
	return t, nil
}

// Resume goes on with what an earlier process left.
func Resume(d Deps, r *state.Record) (*Attempt, error) {
	t, err := prepareActor(d, r.Assignment)
	if err != nil {
		return nil, err
	}
	t.p, t.acked, t.resumed = r.Progress, r.Acked, true
	return t, nil
}

func prepareActor(d Deps, a *fleetv1.Assignment) (*Attempt, error) {
	if a.GetAttemptId() == "" || a.GetJob() == nil {
		return nil, errors.New("runner: the assignment names no attempt or no job")
	}
	dirs, err := d.Layout.Attempt(a.GetAttemptId())
	if err != nil {
		return nil, err
	}
	t := &Attempt{
		d: d, a: a, id: a.GetAttemptId(), dirs: dirs, acked: map[uint32]state.Ack{}, frames: map[uint32]*frame{}, following: map[uint32]*logs.Step{}, done: make(chan struct{}),
		log: d.Log.With("run", a.GetRunId(), "job", a.GetJobId(), "attempt", a.GetAttemptId()),
	}
	t.paths = workspace.ContainerPaths()
	if host, ok := d.Sandbox.(sandbox.HostPaths); ok {
		t.paths = dirs.HostPaths(host.ToolCache())
	}
	t.notices.wake = make(chan struct{}, 1)
	t.notices.killed = make(chan struct{})
	t.entries = entriesOf(a.GetJob(), d.Natives)
	return t, nil
}

// ID is the attempt's id.
func (t *Attempt) ID() string { return t.id }

// Done is closed when Run has returned.
func (t *Attempt) Done() <-chan struct{} { return t.done }

// Run drives the attempt to its end: result reported and acknowledged, logs stored, pod removed, everything forgotten.
// It returns early when parent ends: the attempt then lives on in its pod, for Resume.
func (t *Attempt) Run(parent context.Context) {
	defer close(t.done)
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	go func() {
		select {
		case <-t.notices.killed:
			cancel(errKilled)
		case <-ctx.Done():
		}
	}()
	err := t.underLease(ctx, t.run)
	if errors.Is(err, errLapsed) {
		err = t.abandon(ctx, t.lapsedReason())
	}
	if err != nil && !errors.Is(err, errKilled) && !errors.Is(err, errDetached) {
		err = t.abandon(ctx, err)
	}
	if t.logs != nil {
		t.logs.Close()
	}
	for _, r := range t.roots {
		_ = r.Close()
	}
	if errors.Is(err, errKilled) {
		t.log.Warn("the attempt is fenced: ending it", "reason", t.notices.killReason())
		t.discard(parent)
	}
}

// abandon ends an attempt that this agent can't go on with (a full disk, a broken sandbox): it fails, and says so.
func (t *Attempt) abandon(ctx context.Context, why error) error {
	t.log.Error("the attempt can't go on", "error", why)
	t.markLost(why)
	t.p.Result, t.p.Phase = corev1.Result_RESULT_FAILURE, state.PhaseDone
	if t.logs == nil && t.heldMS() > 0 {
		// Whoever is let into a held pod needs what open makes, and must not see what is masked.
		t.p.Hold.Released = t.values.public("nobody can be let in: "+why.Error(), maxMessage)
	}
	t.save()
	return t.settle(ctx)
}

func (t *Attempt) run(ctx context.Context) error {
	if err := t.getSecrets(ctx); err != nil {
		return err
	}
	if err := t.open(); err != nil {
		return err
	}
	t.openTrace()
	t.armDeadlines()
	defer func() {
		for _, stop := range t.timers {
			stop()
		}
	}()
	for {
		if ctx.Err() != nil {
			return stopReason(ctx)
		}
		finished, err := t.advance(ctx)
		if err != nil || finished {
			return err
		}
	}
}

// stopReason is errKilled, errLapsed or errDetached.
func stopReason(ctx context.Context) error {
	for _, reason := range []error{errKilled, errLapsed} {
		if errors.Is(context.Cause(ctx), reason) {
			return reason
		}
	}
	return errDetached
}

// advance does one thing, and says whether nothing is left to do. An error means that this process can't go on.
func (t *Attempt) advance(ctx context.Context) (finished bool, err error) {
	t.takeNotices()
	switch t.p.Phase {
	case state.PhaseAccepted, state.PhasePreparing:
		return false, t.prepare(ctx)
	case state.PhaseRunning:
		return false, t.nextStep(ctx)
	case state.PhaseFinishing:
		return false, t.finish(ctx)
	case state.PhaseDone:
		t.endLease()
		return true, t.settle(ctx)
	default:
		return false, fmt.Errorf("runner: attempt %s is in unknown phase %d", t.id, t.p.Phase)
	}
}

// open makes what this process needs and no record holds.
func (t *Attempt) open() error {
	if t.resumed {
		if err := t.loadValues(); err != nil {
			t.markLost(fmt.Errorf("what the attempt needs to go on is gone (was the host restarted?): %w", err))
		}
		if err := t.dirs.Make(); err != nil {
			return err
		}
	}
	for _, m := range []struct{ prefix, dir string }{
		{t.paths.Workspace, t.dirs.Workspace}, {t.paths.Temp, t.dirs.Temp}, {t.paths.Home, t.dirs.Home},
	} {
		root, err := os.OpenRoot(m.dir)
		if err != nil {
			return fmt.Errorf("runner: %w", err)
		}
		t.roots = append(t.roots, root)
		t.trees = append(t.trees, glob.Tree{Prefix: m.prefix, Root: root})
	}
	commands, err := os.OpenRoot(t.dirs.Commands)
	if err != nil {
		return fmt.Errorf("runner: %w", err)
	}
	t.roots = append(t.roots, commands)
	if err := t.scope.init(t); err != nil {
		return err
	}
	if t.resumed && t.p.Phase >= state.PhaseRunning {
		// Of one that is done only those see it who look into a held pod.
		if err := t.baseEnv(); err != nil && t.p.Phase < state.PhaseDone {
			return err
		}
	}
	t.logs = logs.New(logs.Config{
		AttemptID: t.id, Token: t.values.base.Token, Remote: t.d.Remote, Watcher: t.d.Watcher, Log: t.log,
		OnAck: t.onAck, OnBytes: t.d.Metrics.logBytes, Debug: t.debugs(),
	})
	return t.reopenLogs()
}

// commandsRoot is the directory of scripts and file commands, opened.
func (t *Attempt) commandsRoot() *os.Root { return t.roots[len(t.roots)-1] }

// onAck comes from the log pusher's goroutine.
func (t *Attempt) onAck(step uint32, offset int64, complete bool) {
	if err := t.d.DB.SaveAck(t.id, step, state.Ack{Offset: offset, Complete: complete}); err != nil {
		t.log.Error("an acknowledged offset could not be kept; a restart would send those bytes again", "step", step, "error", err)
	}
}

// elapsed is milliseconds since the attempt began.
func (t *Attempt) elapsed() int64 { return max(0, t.d.Clock.Now().UnixMilli()-t.p.StartedMS) }

// discard ends and forgets everything: a fenced attempt must leave nothing. If the agent stops meanwhile, the record stays
// and the next start does it, because no coordinator names the attempt.
func (t *Attempt) discard(ctx context.Context) {
	for n := 0; ; n++ {
		err := t.d.Sandbox.Remove(ctx, t.id)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			break
		}
		t.log.Error("a fenced attempt's pod could not be removed; trying again", "error", err, "try", n+1)
		if t.pause(ctx, min(time.Minute, time.Second<<min(n, 6))) != nil {
			return
		}
	}
	t.forget()
}

// forget deletes every trace but the pod.
func (t *Attempt) forget() {
	if err := t.dirs.Remove(); err != nil {
		t.log.Error("an attempt's directories could not be removed", "error", err)
	}
	if err := t.d.DB.Delete(t.id); err != nil {
		t.log.Error("an attempt's record could not be removed", "error", err)
	}
}
