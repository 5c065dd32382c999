package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/slipway-ci/slipway/agent/logs"
	"github.com/slipway-ci/slipway/agent/podspec"
	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/state"
	"github.com/slipway-ci/slipway/pipeline/resolve"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// lines writes the agent's own lines into a step's raw output. Safe for concurrent use.
type lines struct {
	mu sync.Mutex
	f  *os.File
}

func (t *Attempt) openLines(n uint32) (*lines, error) {
	f, err := os.OpenFile(t.dirs.LogPath(n), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("runner: write the log of step %d: %w", n, err)
	}
	return &lines{f: f}, nil
}

// Printf writes a line. A disk that is full must not fail what the line tells of.
func (l *lines) Printf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = fmt.Fprintf(l.f, format+"\n", args...)
}

// Close ends writing.
func (l *lines) Close() { _ = l.f.Close() }

// begin makes the record of a step that begins now, with its log.
func (t *Attempt) begin(n uint32, name, id string) (*state.Step, *logs.Step, error) {
	rec := t.record(n)
	if rec == nil {
		rec = &state.Step{
			Number: n, Name: t.values.public(name, maxName), ID: id, State: corev1.StepState_STEP_STATE_RUNNING,
			StartedMS: t.elapsed(), EndedMS: -1, Masks: len(t.values.masks), HasLog: true,
		}
		t.p.Steps = append(t.p.Steps, rec)
	}
	l, err := t.follow(rec)
	return rec, l, err
}

func (t *Attempt) follow(rec *state.Step) (*logs.Step, error) {
	l, err := t.logs.Step(rec.Number, t.dirs.LogPath(rec.Number), t.values.masksAt(rec.Masks), t.acked[rec.Number].Offset)
	if err == nil {
		t.following[rec.Number] = l
	}
	return l, err
}

// endLog waits until all that a step said was read, and notes how much it is.
func (t *Attempt) endLog(rec *state.Step, l *logs.Step) (logs.Result, error) {
	delete(t.following, rec.Number)
	result, err := l.End()
	if !errors.Is(err, logs.ErrStopping) {
		rec.Log = &state.Log{Length: result.Length, SHA256: result.SHA256}
		t.unreleased = append(t.unreleased, l)
	}
	return result, err
}

// endLost ends the log of a step that nobody waits for any more. A log without an end would be waited for by the store, and the attempt by the log.
func (t *Attempt) endLost(rec *state.Step) {
	l := t.following[rec.Number]
	if t.logs == nil || rec.Log != nil || !rec.HasLog {
		return
	}
	if l == nil {
		var err error
		if l, err = t.follow(rec); err != nil {
			t.log.Error("the output of a step that is lost can't be read", "step", rec.Number, "error", err)
			return
		}
	}
	if _, err := t.endLog(rec, l); err != nil {
		t.log.Error("the output of a step that is lost can't be read", "step", rec.Number, "error", err)
	}
}

// prepare is step 0, "Set up job": directories, contexts, pod.
func (t *Attempt) prepare(ctx context.Context) error {
	again := t.p.Phase == state.PhasePreparing
	t.p.Phase = state.PhasePreparing
	rec, l, err := t.begin(0, "Set up job", "")
	if err != nil {
		return err
	}
	t.save()
	out, err := t.openLines(0)
	if err != nil {
		return err
	}
	defer out.Close()
	if again {
		out.Printf("The agent was restarted; preparing again.")
	}
	err = t.preparePod(ctx, out, again)
	if ctx.Err() != nil {
		return stopReason(ctx)
	}
	x := ending{outcome: corev1.Result_RESULT_SUCCESS}
	soft, _ := t.ending()
	switch {
	case err == nil:
	case soft:
		out.Printf("Cancelled while preparing.")
		x.outcome = corev1.Result_RESULT_CANCELLED
	default:
		x.outcome = corev1.Result_RESULT_FAILURE
		x.failure = prepareFailure(err)
		out.Printf("Error: %v", err)
	}
	t.end(rec, l, x)
	t.d.Metrics.prepared(time.Duration(rec.EndedMS-rec.StartedMS) * time.Millisecond)
	t.p.Phase = state.PhaseRunning
	if x.outcome != corev1.Result_RESULT_SUCCESS {
		t.p.Phase = state.PhaseFinishing
	}
	return nil
}

// invalidError is a job that can't run as it is written.
type invalidError struct{ err error }

func (e *invalidError) Error() string { return e.err.Error() }
func (e *invalidError) Unwrap() error { return e.err }

func prepareFailure(err error) *state.Failure {
	var invalid *invalidError
	f := &state.Failure{Code: codeSandbox, Fault: system, Message: "preparing the job failed: " + err.Error()}
	switch {
	case errors.As(err, &invalid):
		f.Code, f.Fault, f.Message = codeInvalid, user, err.Error()
	case errors.Is(err, sandbox.ErrUnsupported):
		f.Code, f.Fault = codeUnsupported, user
	default:
		f.Code, f.Fault = sandboxFailure(codeSandbox, err)
	}
	return f
}

func (t *Attempt) preparePod(ctx context.Context, out *lines, again bool) error {
	began := t.d.Clock.Now()
	out.Printf("Job %s, attempt %d, on agent %s", t.a.GetJobName(), t.a.GetAttempt(), t.d.AgentName)
	if _, err := resolve.TimeoutMinutes(t.a.GetJob().GetTimeoutMinutes(), t.scope.job(), 360); err != nil {
		return &invalidError{err}
	}
	if t.noSecrets != nil {
		return fmt.Errorf("its secrets: %w", t.noSecrets)
	}
	if err := t.baseEnv(); err != nil {
		return &invalidError{err}
	}
	spec, err := podspec.Build(t.a, t.dirs, t.scope.job())
	if err != nil {
		return &invalidError{err}
	}
	for _, line := range podspec.Describe(spec) {
		out.Printf("%s", line)
	}
	if err := os.WriteFile(filepath.Join(t.dirs.Workflow, "event.json"), []byte(t.eventPayload()), 0o644); err != nil {
		return fmt.Errorf("write the event's payload: %w", err)
	}
	pod, err := t.createPod(ctx, spec, out, again)
	if err != nil {
		return err
	}
	t.pod = pod
	t.leasePod(pod)
	t.scope.services = podspec.Context(spec)
	out.Printf("Prepared in %d ms", t.d.Clock.Now().Sub(began).Milliseconds())
	return nil
}

// createPod waits for the sandbox in a goroutine of its own, so that a cancel can end it.
func (t *Attempt) createPod(ctx context.Context, spec sandbox.PodSpec, out *lines, again bool) (sandbox.Pod, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		pod sandbox.Pod
		err error
	}
	made := make(chan result, 1)
	go func() {
		pod, err := t.makePod(ctx, spec, out, again)
		made <- result{pod, err}
	}()
	if soft, _ := t.ending(); soft {
		cancel()
	}
	for {
		select {
		case r := <-made:
			return r.pod, r.err
		case <-t.notices.wake:
			if t.takeNotices() {
				cancel()
			}
		}
	}
}

// podTries is how often a pod is made whose host was at fault: a shim or containerd may have died in mid-making. podPause is between
// two tries: what died is being started again.
const (
	podTries = 3
	podPause = time.Second
)

// makePod creates the pod. Nothing of the job has begun, so what was not the job's fault may be tried again.
func (t *Attempt) makePod(ctx context.Context, spec sandbox.PodSpec, out *lines, again bool) (sandbox.Pod, error) {
	for try := 1; ; try++ {
		pod, err := t.tryPod(ctx, spec, out, again)
		if err == nil || ctx.Err() != nil || try == podTries || !hostAtFault(err) {
			return pod, err
		}
		t.log.Warn("the pod could not be made; trying again", "try", try, "error", err)
		out.Printf("%v", err)
		out.Printf("That is not the job's doing, and nothing of it has begun: trying again (%d of %d).", try+1, podTries)
		again = true
		over := make(chan struct{})
		stop := t.d.Clock.AfterFunc(podPause, func() { close(over) })
		select {
		case <-over:
		case <-ctx.Done():
			stop()
			return nil, context.Cause(ctx)
		}
	}
}

func (t *Attempt) tryPod(ctx context.Context, spec sandbox.PodSpec, out *lines, again bool) (sandbox.Pod, error) {
	if again {
		if err := t.d.Sandbox.Remove(ctx, spec.ID); err != nil {
			return nil, fmt.Errorf("remove what the last try left: %w", err)
		}
	}
	return t.d.Sandbox.Create(ctx, spec, func(line string) { out.Printf("%s", line) })
}

// hostAtFault says whether another try on the same host may end better. Pulling images has tries of its own.
func hostAtFault(err error) bool {
	if errors.Is(err, sandbox.ErrUnsupported) {
		return false
	}
	code, fault := sandboxFailure(codeSandbox, err)
	return fault == system && (code == codeSandbox || code == codeLost)
}

// attach finds the pod that an earlier process made.
func (t *Attempt) attach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	pod, err := t.d.Sandbox.Attach(ctx, t.id)
	if err != nil {
		return err
	}
	t.pod = pod
	t.leasePod(pod)
	return t.setServices()
}

// markLost ends an attempt whose pod or records are gone: no step can run any more, and what steps handed on is not known.
func (t *Attempt) markLost(why error) {
	t.log.Error("the attempt is lost", "error", why)
	for _, s := range t.p.Steps {
		if s.State == corev1.StepState_STEP_STATE_RUNNING {
			s.State, s.Outcome, s.Conclusion = corev1.StepState_STEP_STATE_FAILED, corev1.Result_RESULT_FAILURE, corev1.Result_RESULT_FAILURE
			s.EndedMS = t.elapsed()
			s.Failure = &state.Failure{Code: codeLost, Fault: system, Message: t.values.public(why.Error(), maxMessage)}
			t.endLost(s)
		}
	}
	t.fail(codeLost, system, why.Error())
	if t.p.Phase == state.PhaseDone {
		t.p.Result = corev1.Result_RESULT_FAILURE
		return
	}
	t.p.Phase = state.PhaseFinishing
}
