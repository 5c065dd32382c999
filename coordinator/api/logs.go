package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	"github.com/slipway-ci/slipway/coordinator/logs"
	"github.com/slipway-ci/slipway/internal/bytestream"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// logPatience is how long a finished run's logs may stand still before they are given up.
const logPatience = 30 * time.Second

// logServer implements apiv1.LogServiceServer.
type logServer struct {
	apiv1.UnimplementedLogServiceServer
	Deps
}

// tail sends the logs of one run to one caller.
type tail struct {
	d   *Deps
	run string
	job string
	// attempt and step say of which logs alone; "" and nil of all.
	attempt string
	step    *uint32
	// most bytes of a log are sent at once; 0 is all that there are.
	most   int64
	stream grpc.ServerStreamingServer[apiv1.StreamLogsResponse]
	sent   map[tailKey]int64
	// bundle of the run, if it is sealed.
	bundle *statev1.Bundle
	buf    []byte
}

type tailKey struct {
	attempt string
	step    uint32
}

func (s *logServer) StreamLogs(req *apiv1.StreamLogsRequest, stream grpc.ServerStreamingServer[apiv1.StreamLogsResponse]) error {
	ctx := stream.Context()
	run, err := s.Control.Run(ctx, req.GetRunId())
	if err != nil {
		return s.internal("reading a run", err)
	}
	t := &tail{d: &s.Deps, run: run.GetId(), job: req.GetJobId(), attempt: req.GetAttemptId(), step: req.Step, most: req.GetTail(), stream: stream,
		sent: map[tailKey]int64{}, buf: make([]byte, bytestream.Chunk)}
	if err := errors.Join(t.checkJob(run), t.takeHave(req)); err != nil {
		return err
	}
	if lifecycle.Run.IsTerminal(run.GetState()) {
		if err := t.findSealed(ctx); err != nil {
			return s.internal("reading logs", err)
		}
	}
	if err := t.sendKept(run); err != nil {
		return s.internal("reading logs", err)
	}
	if req.GetFollow() {
		err = t.follow(ctx)
	} else {
		_, _, err = t.send(false)
	}
	return s.internal("reading logs", err)
}

// maxHave bounds what a caller may say that it has: more steps than an attempt can have.
const maxHave = 10_000

// takeHave notes what the caller has already.
func (t *tail) takeHave(req *apiv1.StreamLogsRequest) error {
	if len(req.GetHave()) > maxHave || req.GetTail() < 0 {
		return rpcerr.New(rpcerr.InvalidRequest, "have: %d positions, tail: %d; at most %d positions are taken, and no tail below 0", len(req.GetHave()), req.GetTail(), maxHave)
	}
	for _, h := range req.GetHave() {
		if h.GetOffset() < 0 {
			return rpcerr.New(rpcerr.InvalidRequest, "have: %d is no offset", h.GetOffset())
		}
		t.sent[tailKey{h.GetAttemptId(), h.GetStep()}] = h.GetOffset()
	}
	return nil
}

// skip leaves out what is more than may be sent at once of a log that has size bytes.
func (t *tail) skip(key tailKey, size int64) {
	if t.most > 0 && size-t.sent[key] > t.most {
		t.sent[key] = size - t.most
	}
}

// checkJob refuses a job that the run does not have.
func (t *tail) checkJob(run *apiv1.Run) error {
	if t.job == "" {
		return nil
	}
	var known []string
	for _, j := range run.GetJobs() {
		if t.wants(j.GetId()) || j.GetKey() == t.job {
			return nil
		}
		known = append(known, j.GetId())
	}
	return rpcerr.New(rpcerr.NotFound, "run %s has no job %q; it has %s", run.GetId(), t.job, strings.Join(known, ", "))
}

// sendKept sends the logs of jobs that an earlier attempt of the run ran.
func (t *tail) sendKept(run *apiv1.Run) error {
	for _, j := range run.GetJobs() {
		if j.GetKeptFrom() == "" || !t.wants(j.GetId()) && j.GetKey() != t.job {
			continue
		}
		earlier := *t
		earlier.run, earlier.job = j.GetKeptFrom(), j.GetId()
		if err := earlier.findSealed(t.stream.Context()); err != nil {
			return err
		}
		if _, _, err := earlier.send(false); err != nil {
			return err
		}
	}
	return nil
}

// wantsLog says whether a log is asked for.
func (t *tail) wantsLog(job, attempt string, step uint32) bool {
	return t.wants(job) && (t.attempt == "" || attempt == t.attempt) && (t.step == nil || step == *t.step)
}

// wants says whether a job instance is asked for: by its id, or by its key for all legs of a matrix.
func (t *tail) wants(job string) bool {
	return t.job == "" || job == t.job || strings.HasPrefix(job, t.job+".")
}

// follow sends what comes until the run is terminal and its logs are complete.
func (t *tail) follow(ctx context.Context) error {
	changes, err := t.d.Control.Watch(ctx, t.run)
	if err != nil {
		return err
	}
	follower := t.d.Logs.Follow(t.run)
	defer follower.Close()
	ended := false
	tired := make(chan struct{}, 1)
	disarm := func() bool { return false }
	defer func() { disarm() }()
	arm := func() {
		disarm()
		disarm = t.d.Clock.AfterFunc(logPatience, func() {
			select {
			case tired <- struct{}{}:
			default:
			}
		})
	}
	for {
		changed := follower.Changed()
		// Before sending: what is final now is sent whole.
		final := t.attempt != "" && t.d.Logs.Finished(t.attempt)
		missing, progress, err := t.send(!ended)
		if err != nil {
			return err
		}
		if missing == "" && (ended || final) {
			return nil
		}
		if ended && progress {
			arm()
		}
		select {
		case <-changed:
		case run, ok := <-changes:
			switch {
			case ok && lifecycle.Run.IsTerminal(run.GetState()):
				ended, changes = true, nil
				arm()
			case !ok:
				return watchEnded(ctx)
			}
		case <-tired:
			return rpcerr.New(rpcerr.LogIncomplete, "the run has ended, but %s, and nothing came for %v; its agent may be away: ask again later", missing, logPatience)
		case <-t.d.Stop:
			return stopped()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// send sends what the caller has not got yet. missing describes a log that is not complete, or is "". inOrder keeps a step's
// output back while that of a step before it is still on its way: an agent that comes back has both at once.
func (t *tail) send(inOrder bool) (missing string, progress bool, err error) {
	infos, err := t.d.Logs.List(t.run)
	if err != nil {
		return "", false, err
	}
	if t.bundle != nil {
		if missing, err = t.sendSealed(infos); err != nil {
			return "", false, err
		}
	}
	partial := ""
	for _, i := range infos {
		if !t.wantsLog(i.Job, i.Attempt, i.Step) || inOrder && i.Attempt == partial {
			continue
		}
		key := tailKey{attempt: i.Attempt, step: i.Step}
		before := t.sent[key]
		t.skip(key, i.Size)
		if err := t.sendLog(i, key); err != nil {
			return "", false, err
		}
		progress = progress || t.sent[key] > before
		if !i.Complete() {
			partial = i.Attempt
		}
		// Of an attempt without a final report nothing more is expected once the run has ended: it was lost.
		if !i.Complete() && t.d.Logs.Finished(i.Attempt) {
			missing = fmt.Sprintf("the log of job %s, step %d has %d of %d bytes", i.Job, i.Step, i.Size, i.Want)
		}
	}
	return missing, progress, nil
}

func (t *tail) sendLog(i logs.Info, key tailKey) error {
	for t.sent[key] < i.Size {
		n, err := t.d.Logs.ReadAt(i.Attempt, i.Step, t.buf, t.sent[key])
		if n > 0 {
			msg := &apiv1.StreamLogsResponse{JobId: i.Job, AttemptId: i.Attempt, Step: i.Step, Offset: t.sent[key], Data: t.buf[:n]}
			if err := t.stream.Send(msg); err != nil {
				return err
			}
			t.sent[key] += int64(n)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}
