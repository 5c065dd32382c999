package client

import (
	"context"
	"io"
	"sync"
	"time"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

const (
	// keepaliveEvery is what the coordinator asks for: it takes a client that says nothing for a minute for gone.
	keepaliveEvery = 15 * time.Second
	// debugChunk is how much input goes in one message.
	debugChunk = 32 << 10
)

// DebugIO is what a command in a held pod is connected with.
type DebugIO struct {
	// In may outlive the call: who waits for a keyboard can't be told to stop.
	In       io.Reader
	Out, Err io.Writer
	// Sizes of the terminal, as they change; nil without one.
	Sizes <-chan *corev1.TerminalSize
	// Opened is called once the agent is there; may be nil.
	Opened func(*apiv1.DebugOpened)
	// Placed is called when the agent has said where in the pod the command runs, before it prints anything; may be nil. Older agents do not say.
	Placed func(*corev1.TerminalPlace)
}

// Debug runs a command, or a shell, in the pod of a held job, until it ends. It is not repeated after an outage: the command is ended by then.
func (c *Client) Debug(ctx context.Context, open *apiv1.DebugOpen, t DebugIO) (*corev1.TerminalExit, error) {
	op := "entering " + jobOf(open.GetJobId(), open.GetRunId())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.debug.Debug(ctx)
	if err != nil {
		return nil, c.wrap(op, err)
	}
	d := &debugStream{stream: stream}
	if err := d.send(&apiv1.DebugRequest{Message: &apiv1.DebugRequest_Open{Open: open}}); err != nil {
		_, err = stream.Recv() // which knows why
		return nil, c.wrap(op, err)
	}
	first, err := stream.Recv()
	if err != nil {
		return nil, c.wrap(op, err)
	}
	if t.Opened != nil {
		t.Opened(first.GetOpened())
	}
	go d.input(t.In)
	go d.others(ctx, t.Sizes)
	for {
		m, err := stream.Recv()
		if err != nil {
			return nil, c.wrap(op, err)
		}
		out := m.GetOutput()
		if out.GetPlace() != nil && t.Placed != nil {
			t.Placed(out.GetPlace())
		}
		if _, err := t.Out.Write(out.GetStdout()); err != nil {
			return nil, err
		}
		if _, err := t.Err.Write(out.GetStderr()); err != nil {
			return nil, err
		}
		if out.GetExit() != nil {
			return out.GetExit(), nil
		}
	}
}

// debugStream lets two goroutines send.
type debugStream struct {
	stream apiv1.DebugService_DebugClient
	mu     sync.Mutex
}

func (d *debugStream) send(m *apiv1.DebugRequest) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stream.Send(m)
}

func (d *debugStream) sendInput(in *corev1.TerminalInput) error {
	return d.send(&apiv1.DebugRequest{Message: &apiv1.DebugRequest_Input{Input: in}})
}

func (d *debugStream) input(from io.Reader) {
	buf := make([]byte, debugChunk)
	for {
		n, err := from.Read(buf)
		if n > 0 && d.sendInput(&corev1.TerminalInput{Data: append([]byte(nil), buf[:n]...)}) != nil {
			return
		}
		if err != nil {
			_ = d.sendInput(&corev1.TerminalInput{End: true}) // a stream that is over needs no end
			return
		}
	}
}

// others sends sizes and signs of life.
func (d *debugStream) others(ctx context.Context, sizes <-chan *corev1.TerminalSize) {
	t := time.NewTicker(keepaliveEvery)
	defer t.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case size := <-sizes:
			err = d.sendInput(&corev1.TerminalInput{Size: size})
		case <-t.C:
			err = d.send(&apiv1.DebugRequest{Message: &apiv1.DebugRequest_Keepalive{Keepalive: &apiv1.Keepalive{}}})
		}
		if err != nil {
			return
		}
	}
}

// ReleaseJob lets the pod of a held job go, and returns the job's instance id.
func (c *Client) ReleaseJob(ctx context.Context, run, job string) (string, error) {
	r := &apiv1.ReleaseJobRequest{RequestId: c.newID(), RunId: run, JobId: job}
	var out *apiv1.ReleaseJobResponse
	err := c.retry(ctx, "releasing "+jobOf(job, run), func(ctx context.Context) (err error) {
		out, err = c.debug.ReleaseJob(ctx, r)
		return err
	})
	return out.GetJobId(), err
}

// jobOf names a job for a person; "" is the one that is held.
func jobOf(job, run string) string {
	if job == "" {
		return "the held job of run " + run
	}
	return "job " + job + " of run " + run
}
