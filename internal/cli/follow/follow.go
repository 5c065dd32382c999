// Package follow shows runs until they end: it joins the streams of states and logs with a display, and turns the
// user's interrupts into cancellations.
package follow

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/slipway-ci/slipway/internal/cli/exit"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// API is what Follow needs of sdk/client.
type API interface {
	Watch(ctx context.Context, runID string, seen func(*apiv1.Run) error) error
	Logs(ctx context.Context, r *apiv1.StreamLogsRequest, seen func(*apiv1.StreamLogsResponse) error) error
	Cancel(ctx context.Context, runID, reason string) error
}

// Display shows runs. Follow calls it from one goroutine.
type Display interface {
	Run(*apiv1.Run)
	Log(runID string, l *apiv1.StreamLogsResponse)
	Notice(text string)
	// Tick is called after events, and while time passes.
	Tick() error
	Close() error
}

// Options of Follow.
type Options struct {
	// Interrupts are the user's Ctrl-C: the first cancels, the second leaves.
	Interrupts <-chan os.Signal
	// Interrupted: the first one has come already.
	Interrupted bool
	// Frame is the time between redraws; 0 draws after every event only.
	Frame time.Duration
	// LogPatience is how long logs may take to complete after the last run ended.
	LogPatience time.Duration
}

// event is one thing that happened; exactly one field is set, but for run which says whose.
type event struct {
	run      string
	state    *apiv1.Run
	log      *apiv1.StreamLogsResponse
	watched  bool
	logged   bool
	canceled bool
	err      error
}

// Outcome is how the runs ended.
type Outcome struct {
	// Runs in their last known state, in the order asked for; nil where none was seen.
	Runs []*apiv1.Run
	// Left: the user left before the end.
	Left bool
}

type follower struct {
	api     API
	display Display
	opt     Options
	ids     []string
	last    map[string]*apiv1.Run
	events  chan event
	// watching and logging count open streams, cancelling the calls under way.
	watching, logging, cancelling int
	interrupts                    int
	err                           error
}

// Follow shows the runs with these ids until all have ended and their logs are complete. The error is of following, not
// of the runs.
func Follow(ctx context.Context, api API, ids []string, d Display, opt Options) (Outcome, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f := &follower{api: api, display: d, opt: opt, ids: ids, last: map[string]*apiv1.Run{}, events: make(chan event, 64)}
	for _, id := range ids {
		f.watch(ctx, id)
	}
	left := f.loop(ctx)
	if left {
		f.settle()
	}
	// The streams may be blocked on sending to nobody: empty the channel until they are gone.
	cancel()
	for f.watching+f.logging+f.cancelling > 0 {
		f.count(<-f.events)
	}
	if err := d.Close(); f.err == nil && err != nil {
		f.err = err
	}
	out := Outcome{Left: left}
	for _, id := range ids {
		out.Runs = append(out.Runs, f.last[id])
	}
	return out, f.err
}

func (f *follower) watch(ctx context.Context, id string) {
	f.watching++
	go func() {
		err := f.api.Watch(ctx, id, func(r *apiv1.Run) error {
			f.events <- event{run: id, state: r}
			return nil
		})
		f.events <- event{run: id, watched: true, err: err}
	}()
}

// logs reads a run's logs. It begins when a first state was seen: that is the run's heading, and says which jobs' logs are not of this run.
func (f *follower) logs(ctx context.Context, id string) {
	f.logging++
	go func() {
		err := f.api.Logs(ctx, &apiv1.StreamLogsRequest{RunId: id, Follow: true}, func(l *apiv1.StreamLogsResponse) error {
			f.events <- event{run: id, log: l}
			return nil
		})
		f.events <- event{run: id, logged: true, err: err}
	}()
}

// loop handles events until all is done; true if the user left.
func (f *follower) loop(ctx context.Context) (left bool) {
	var frames <-chan time.Time
	if f.opt.Frame > 0 {
		t := time.NewTicker(f.opt.Frame)
		defer t.Stop()
		frames = t.C
	}
	var patience <-chan time.Time
	if f.opt.Interrupted {
		f.interrupt(ctx)
	}
	for {
		if f.watching == 0 {
			if f.err != nil || f.logging == 0 {
				return false
			}
			if patience == nil {
				t := time.NewTimer(f.opt.LogPatience)
				defer t.Stop()
				patience = t.C
			}
		}
		var tick bool
		select {
		case e := <-f.events:
			if e.state != nil && f.last[e.run] == nil {
				f.logs(ctx, e.run)
			}
			f.handle(e)
			tick = f.opt.Frame == 0
		case <-frames:
			tick = true
		case <-f.opt.Interrupts:
			if f.interrupt(ctx) {
				return true
			}
			tick = true
		case <-patience:
			f.display.Notice("the logs are not complete yet; `slipway logs` shows the rest")
			return false
		case <-ctx.Done():
			f.err = ctx.Err()
			return false
		}
		if tick {
			if err := f.display.Tick(); err != nil {
				f.err = err
				return false
			}
		}
	}
}

// settle gives cancellations that are on their way a moment to arrive: who presses Ctrl-C twice means both.
func (f *follower) settle() {
	t := time.NewTimer(2 * time.Second)
	defer t.Stop()
	for f.cancelling > 0 {
		select {
		case e := <-f.events:
			f.handle(e)
		case <-f.opt.Interrupts:
			return
		case <-t.C:
			return
		}
	}
}

func (f *follower) count(e event) {
	switch {
	case e.watched:
		f.watching--
	case e.logged:
		f.logging--
	case e.canceled:
		f.cancelling--
	}
}

func (f *follower) handle(e event) {
	f.count(e)
	switch {
	case e.state != nil:
		f.last[e.run] = e.state
		f.display.Run(e.state)
	case e.log != nil && !f.kept(e.run, e.log.GetJobId()):
		f.display.Log(e.run, e.log)
	case e.watched && e.err != nil && f.err == nil:
		f.err = e.err
	case e.logged && e.err != nil && !errors.Is(e.err, context.Canceled):
		f.display.Notice("reading the logs stopped: " + e.err.Error())
	case e.canceled && e.err != nil:
		f.display.Notice("cancelling failed: " + e.err.Error())
	}
}

// kept says whether a job did not run in this attempt of the run: its result and its log are an earlier one's.
func (f *follower) kept(run, job string) bool {
	for _, j := range f.last[run].GetJobs() {
		if j.GetId() == job {
			return j.GetKeptAttempt() > 0
		}
	}
	return false
}

// interrupt answers Ctrl-C; true means leave.
func (f *follower) interrupt(ctx context.Context) bool {
	f.interrupts++
	if f.interrupts > 1 {
		return true
	}
	f.display.Notice("cancelling the run and waiting for its clean-up; press Ctrl-C again to leave at once")
	for _, id := range f.ids {
		f.cancelling++
		go func() {
			f.events <- event{run: id, canceled: true, err: f.api.Cancel(ctx, id, "interrupted by the user")}
		}()
	}
	return false
}

// Code is the exit code of a finished run.
func Code(r *apiv1.Run) exit.Code {
	switch r.GetState() {
	case corev1.RunState_RUN_STATE_SUCCEEDED, corev1.RunState_RUN_STATE_SKIPPED:
		return exit.OK
	case corev1.RunState_RUN_STATE_FAILED:
		return exit.Failed
	case corev1.RunState_RUN_STATE_CANCELLED:
		return exit.Cancelled
	case corev1.RunState_RUN_STATE_UNSPECIFIED, corev1.RunState_RUN_STATE_CREATING, corev1.RunState_RUN_STATE_WAITING, corev1.RunState_RUN_STATE_QUEUED,
		corev1.RunState_RUN_STATE_RUNNING, corev1.RunState_RUN_STATE_CANCELLING, corev1.RunState_RUN_STATE_FINISHING:
	}
	return exit.System
}

// Code is the exit code of all runs together: a failure says more than a cancellation.
func (o Outcome) Code() exit.Code {
	if o.Left {
		return exit.Cancelled
	}
	worst := exit.OK
	weight := map[exit.Code]int{exit.OK: 0, exit.Cancelled: 1, exit.Failed: 2, exit.System: 3}
	for _, r := range o.Runs {
		if c := Code(r); weight[c] > weight[worst] {
			worst = c
		}
	}
	return worst
}
