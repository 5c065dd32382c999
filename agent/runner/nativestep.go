package runner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/slipway-ci/slipway/agent/commands"
	"github.com/slipway-ci/slipway/agent/logs"
	"github.com/slipway-ci/slipway/agent/native"
	"github.com/slipway-ci/slipway/agent/state"
	"github.com/slipway-ci/slipway/pipeline/resolve"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

func (t *Attempt) beginNative(ctx context.Context, e entry, name string, env []commands.Pair) error {
	if _, ok := t.d.Natives[e.step.GetNative().GetName()]; !ok {
		return t.failBefore(e, name, fmt.Errorf("this agent has no native step %q; it is older than the coordinator", e.step.GetNative().GetName()))
	}
	rec, l, err := t.begin(e.number, name, idOf(e))
	if err != nil {
		return err
	}
	t.save()
	return t.runNative(ctx, e, rec, l, env, false)
}

// continueNative begins the step again: it ran inside the process that died, and may be repeated.
func (t *Attempt) continueNative(ctx context.Context, e entry, rec *state.Step) error {
	_, l, err := t.begin(e.number, rec.Name, rec.ID)
	if err != nil {
		return err
	}
	env, err := t.stepEnv(e, t.envOf(e))
	if err != nil {
		env = t.envOf(e)
	}
	return t.runNative(ctx, e, rec, l, env, true)
}

type nativeResult struct {
	out native.Outcome
	err error
}

// runNative runs the action in a goroutine of its own; cancels and time limits end its context.
func (t *Attempt) runNative(ctx context.Context, e entry, rec *state.Step, l *logs.Step, env []commands.Pair, again bool) error {
	out, err := t.openLines(e.number)
	if err != nil {
		return err
	}
	defer out.Close()
	if again {
		out.Printf("The agent was restarted; this step begins again.")
	}
	for try := 1; ; try++ {
		x, stopped := t.tryNative(ctx, e, env, out)
		if ctx.Err() != nil {
			return stopReason(ctx)
		}
		flaky(&x, try)
		if !stopped && tryAgain(e.step.GetRetry(), try, x) && e.kind == kindMain {
			goOn, err := t.nextTry(ctx, e, try, x, out)
			if err != nil {
				return err
			}
			if goOn {
				continue
			}
		}
		t.collect(ctx, e, &x)
		if ctx.Err() != nil {
			return stopReason(ctx)
		}
		t.endEntry(e, rec, l, x)
		return nil
	}
}

// tryNative runs the action once; stopped says that the agent ended it.
func (t *Attempt) tryNative(ctx context.Context, e entry, env []commands.Pair, out *lines) (x ending, stopped bool) {
	var noted annotations
	x.outcome = corev1.Result_RESULT_SUCCESS
	r, stopped, timedOut := t.performNative(t.withStep(ctx, e.number), e, env, t.values.hide, out, &noted)
	if ctx.Err() != nil {
		return x, stopped
	}
	var userErr *native.UserError
	switch {
	case r.err == nil:
	case stopped:
		x.outcome = corev1.Result_RESULT_CANCELLED
		x.failure = &state.Failure{Code: codeCancelled, Fault: user, Message: "stopped because the job is ending"}
	case timedOut:
		x.failed(codeTimedOut, user, "the step ran longer than its timeout-minutes")
	case errors.As(r.err, &userErr):
		x.failed(codeStepFailed, user, "%v", r.err)
	default:
		x.failed(codeInternal, system, "%v", r.err)
	}
	if r.err != nil {
		out.Printf("Error: %v", r.err)
	}
	x.extra = noted.list
	x.values = stepValues{Env: r.out.Env, Path: r.out.Path, Outputs: r.out.Outputs}
	return x, stopped
}

// annotations collects what a native step notes; it runs in another goroutine than the actor.
type annotations struct {
	mu   sync.Mutex
	list []state.Annotation
}

func (t *Attempt) performNative(ctx context.Context, e entry, env []commands.Pair, hide *logs.Masks, out *lines, noted *annotations) (r nativeResult, stopped, timedOut bool) {
	call, err := t.nativeCall(e, env, hide, out, noted)
	if err != nil {
		return nativeResult{err: &native.UserError{Err: err}}, false, false
	}
	limit, err := t.stepLimit(e, t.scope.of(e, env))
	if err != nil {
		return nativeResult{err: &native.UserError{Err: err}}, false, false
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	expired := make(chan struct{})
	if limit > 0 {
		stop := t.d.Clock.AfterFunc(limit, func() { close(expired) })
		defer stop()
	}
	ended := make(chan nativeResult, 1)
	go func() { ended <- t.call(ctx, e, call) }()
	for {
		if soft, _ := t.ending(); soft && !stopped && t.mustStop(e) {
			stopped = true
			cancel()
		}
		select {
		case r = <-ended:
			return r, stopped, timedOut
		case <-t.notices.wake:
			t.takeNotices()
		case <-expired:
			timedOut, expired = true, nil
			cancel()
		}
	}
}

func (t *Attempt) call(ctx context.Context, e entry, call *native.Call) nativeResult {
	action := t.d.Natives[e.step.GetNative().GetName()]
	if post, ok := action.(native.PostAction); ok && e.kind == kindPost {
		return nativeResult{err: post.Post(ctx, call)}
	}
	out, err := action.Run(ctx, call)
	return nativeResult{out, err}
}

func (t *Attempt) nativeCall(e entry, env []commands.Pair, hide *logs.Masks, out *lines, noted *annotations) (*native.Call, error) {
	with, err := resolve.Entries(e.step.GetNative().GetWith(), t.scope.of(e, env))
	if err != nil {
		return nil, fmt.Errorf("with: %w", err)
	}
	inputs := map[string]string{}
	for _, p := range with {
		inputs[strings.ToLower(p.Name)] = p.Value
	}
	return &native.Call{
		Hide: hide.Hide, With: inputs, Trees: t.trees, Home: t.paths.Home, ToolCache: t.paths.ToolCache, Scratch: t.dirs.Logs, Log: out.Printf,
		Annotate: func(level, message string) {
			noted.mu.Lock()
			defer noted.mu.Unlock()
			noted.list = append(noted.list, state.Annotation{Level: level, Message: message})
			out.Printf("%s: %s", strings.ToUpper(level[:1])+level[1:], message)
		},
		Exec: func(ctx context.Context, argv ...string) (string, int, error) {
			full, err := t.withPath(ctx, "", env)
			if err != nil {
				return "", 0, err
			}
			return t.probe(ctx, environ(full), argv...)
		},
		Remote: t.d.Remote, AttemptID: t.id, Token: t.values.base.Token, JobID: t.a.GetJobId(), Source: t.a.GetSource(),
	}, nil
}
