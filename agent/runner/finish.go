package runner

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/agent/commands"
	"github.com/slipway-ci/slipway/agent/logs"
	"github.com/slipway-ci/slipway/agent/state"
	"github.com/slipway-ci/slipway/pipeline/resolve"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// maxOutputs bounds a job's outputs together, as GitHub does.
const maxOutputs = 1 << 20

// finish is the last step, "Complete job": outputs, summaries, the result.
func (t *Attempt) finish(_ context.Context) error {
	t.leaveActions()
	rec, l, err := t.begin(t.completeNumber(), "Complete job", "")
	if err != nil {
		return err
	}
	out, err := t.openLines(t.completeNumber())
	if err != nil {
		return err
	}
	defer out.Close()
	x := ending{outcome: corev1.Result_RESULT_SUCCESS}
	if !t.p.Hidden {
		t.showValues(out, &x)
	}
	if err := t.dirs.WritePrivate(outputsFile, t.values.outputs); err != nil {
		return err
	}
	t.end(rec, l, x)
	t.p.Result = t.result()
	if t.p.Result == corev1.Result_RESULT_CANCELLED && t.p.Failure == nil {
		t.p.Failure = &state.Failure{Code: codeCancelled, Fault: user, Message: "cancelled: " + t.p.Reason}
	}
	t.beginHold()
	t.p.Phase = state.PhaseDone
	t.save()
	t.d.Metrics.attempt(word(t.p.Result))
	t.log.Info("attempt ended", "result", word(t.p.Result), "ms", t.elapsed())
	return nil
}

// showValues fills in the job's outputs and writes the steps' summaries into the log.
func (t *Attempt) showValues(out *lines, x *ending) {
	var err error
	if t.values.outputs, err = t.evaluateOutputs(out, x); err != nil {
		out.Printf("Error: %v", err)
		x.failed(codeStepFailed, user, "%v", err)
	}
	for _, s := range t.p.Steps {
		if v := t.values.steps[s.Number]; v != nil && v.Summary != "" {
			out.Printf("Summary of step %d, %s:\n%s", s.Number, s.Name, strings.TrimRight(v.Summary, "\n"))
		}
	}
}

func (t *Attempt) result() corev1.Result {
	switch {
	case t.p.TimedOut:
		return corev1.Result_RESULT_FAILURE
	case t.p.Cancelled:
		return corev1.Result_RESULT_CANCELLED
	case t.p.Failed:
		return corev1.Result_RESULT_FAILURE
	default:
		return corev1.Result_RESULT_SUCCESS
	}
}

// evaluateOutputs drops what is empty, and what a mask would change: it may be a secret.
func (t *Attempt) evaluateOutputs(out *lines, x *ending) ([]commands.Pair, error) {
	pairs, err := resolve.Entries(t.a.GetJob().GetOutputs(), t.scope.step(t.envSoFar()))
	if err != nil {
		return nil, fmt.Errorf("the job's outputs can't be evaluated: %w", err)
	}
	var kept []commands.Pair
	size := 0
	for _, p := range pairs {
		if p.Value == "" {
			continue
		}
		if t.values.hide.Hides(p.Value) {
			message := fmt.Sprintf("Skip output '%s' since it may contain secret.", p.Name)
			out.Printf("Warning: %s", message)
			x.extra = append(x.extra, state.Annotation{Level: "warning", Message: message})
			continue
		}
		if size += len(p.Name) + len(p.Value); size > maxOutputs {
			return nil, fmt.Errorf("the job's outputs are larger than %d MiB together; put large things into an artifact", maxOutputs>>20)
		}
		out.Printf("Set output '%s'", p.Name)
		kept = append(kept, commands.Pair{Name: p.Name, Value: strings.ToValidUTF8(p.Value, "\uFFFD")})
	}
	return kept, nil
}

// settle waits until nothing of the attempt is needed any more, then forgets it: pod and workspace removed, report committed, logs stored.
func (t *Attempt) settle(ctx context.Context) error {
	if err := t.holdPod(ctx); err != nil {
		return err
	}
	if err := t.removePod(ctx); err != nil {
		return err
	}
	if err := t.dirs.RemoveMounted(); err != nil {
		t.log.Error("the workspace could not be removed", "error", err)
	}
	if err := t.recordEnd(ctx); err != nil {
		return err
	}
	if t.logs != nil {
		if err := t.logs.WaitAcked(ctx); err != nil && ctx.Err() == nil {
			t.log.Error("some of the attempt's logs are not stored", "error", err)
		}
	}
	for !t.reportAcked() {
		select {
		case <-t.notices.wake:
		case <-ctx.Done():
			return stopReason(ctx)
		}
	}
	t.recordSpans()
	t.forget()
	return nil
}

func (t *Attempt) reportAcked() bool {
	t.notices.mu.Lock()
	defer t.notices.mu.Unlock()
	return t.notices.reportAck >= t.p.Seq
}

// recordEnd makes the result last. A disk that was full kept it from being recorded so far, and with it the ends of logs;
// the workspace that filled it is gone by now.
func (t *Attempt) recordEnd(ctx context.Context) error {
	for n := 0; len(t.unreleased) > 0; n++ {
		err := t.d.DB.Save(t.id, t.p)
		if err == nil {
			t.release()
			break
		}
		t.log.Error("the attempt's result could not be recorded; trying again", "error", err, "try", n+1)
		if err := t.pause(ctx, min(time.Minute, time.Second<<min(n, 6))); err != nil {
			return err
		}
	}
	if err := t.d.DB.Sync(); err != nil {
		t.log.Error("the result could not be synced to the disk", "error", err)
	}
	return nil
}

// removePod tries until nothing of the pod is left.
func (t *Attempt) removePod(ctx context.Context) error {
	for n := 0; ; n++ {
		err := t.d.Sandbox.Remove(ctx, t.id)
		if ctx.Err() != nil {
			return stopReason(ctx)
		}
		if err == nil {
			return nil
		}
		t.log.Error("the pod could not be removed; trying again", "error", err, "try", n+1)
		if err := t.pause(ctx, min(time.Minute, time.Second<<min(n, 6))); err != nil {
			return err
		}
	}
}

func (t *Attempt) pause(ctx context.Context, d time.Duration) error {
	fired := make(chan struct{})
	jitter := t.d.Jitter
	if jitter == nil {
		jitter = rand.N[time.Duration]
	}
	stop := t.d.Clock.AfterFunc(d/2+jitter(d/2), func() { close(fired) })
	defer stop()
	select {
	case <-fired:
		return nil
	case <-ctx.Done():
		return stopReason(ctx)
	}
}

// reopenLogs goes on sending the logs of steps that ended before this process began.
func (t *Attempt) reopenLogs() error {
	if !t.resumed {
		return nil
	}
	for _, s := range t.p.Steps {
		if !s.HasLog || s.Log == nil || t.acked[s.Number].Complete {
			continue
		}
		if s.Masks > len(t.values.masks) {
			t.log.Error("a log is not sent: its masks are gone", "step", s.Number)
			continue
		}
		if t.logStored(s) {
			continue
		}
		l, err := t.logs.Step(s.Number, t.dirs.LogPath(s.Number), t.values.masksAt(s.Masks), t.acked[s.Number].Offset)
		if err != nil {
			return err
		}
		go t.reread(s, l)
	}
	// The coordinator may have missed the last report.
	t.d.Report(t.report())
	return nil
}

// logStored is whether the store holds all of a log although that was not noted: the agent was killed between the two. The raw
// output of a step whose end is on record is deleted for no other reason; an empty one in its place would be sent as the log.
func (t *Attempt) logStored(s *state.Step) bool {
	if _, err := os.Stat(t.dirs.LogPath(s.Number)); !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	t.log.Info("a log was stored before the agent ended", "step", s.Number, "length", s.Log.Length)
	t.onAck(s.Number, s.Log.Length, true)
	return true
}

func (t *Attempt) reread(s *state.Step, l *logs.Step) {
	r, err := l.End()
	switch {
	case errors.Is(err, logs.ErrStopping):
		return
	case err != nil || r.SHA256 != s.Log.SHA256:
		// The coordinator sees it too, by the report's digest; to keep what is left would help nobody.
		t.log.Error("a log is not what it was when its step ended", "step", s.Number, "length", r.Length, "want_length", s.Log.Length, "error", err)
	}
	l.Release()
}
