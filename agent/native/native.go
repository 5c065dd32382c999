// Package native is the steps that the agent performs itself, in place of well-known actions: checkout, setup-node,
// upload-artifact and download-artifact. Each may be interrupted at any point and run again.
package native

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-ci/slipway/agent/commands"
	"github.com/slipway-ci/slipway/agent/glob"
	"github.com/slipway-ci/slipway/internal/bytestream"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// UserError is a failure that the workflow's author can repair; every other error is the system's.
type UserError struct{ Err error }

func (e *UserError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *UserError) Unwrap() error { return e.Err }

func userErrorf(format string, args ...any) error {
	return &UserError{Err: fmt.Errorf(format, args...)}
}

// Remote gives the connection to the coordinator.
type Remote interface {
	// Client blocks until there is a session, or ctx ends.
	Client(ctx context.Context) (fleetv1.FleetServiceClient, error)
}

// Call is one run of a native step.
type Call struct {
	// With are the inputs by lower-case name.
	With map[string]string
	// Trees are the directories that the step may read and write: workspace first.
	Trees []glob.Tree
	// Home and ToolCache are paths as steps see them.
	Home, ToolCache string
	// Log writes a line into the step's log.
	Log func(format string, args ...any)
	// Annotate adds an annotation of a level (notice, warning, error), and logs it.
	Annotate func(level, message string)
	// Exec runs a small command in the pod and returns its output, at most 64 KiB.
	Exec func(ctx context.Context, argv ...string) (output string, exitCode int, err error)
	// Hide masks a text that others will read outside the log.
	Hide func(text string) string
	// Scratch is a directory of the host for temporary files, never seen by the container.
	Scratch string

	Remote                  Remote
	AttemptID, Token, JobID string
	// Source is the digest of the run's tree; "" for none.
	Source string
}

// Outcome is what a step leaves for later ones.
type Outcome struct {
	Outputs []commands.Pair
	Env     []commands.Pair
	// Path entries go in front of PATH.
	Path []string
}

// Action is a native step. ctx ends when the step is cancelled or times out.
type Action interface {
	Run(ctx context.Context, c *Call) (Outcome, error)
}

// PostAction is an Action with something to do when the job ends, last in first out.
type PostAction interface {
	Action
	Post(ctx context.Context, c *Call) error
}

// Func makes an Action of a function.
type Func func(ctx context.Context, c *Call) (Outcome, error)

// Run implements Action.
func (f Func) Run(ctx context.Context, c *Call) (Outcome, error) { return f(ctx, c) }

// All returns the native steps by the names that a plan uses.
func All() map[string]Action {
	return map[string]Action{
		"checkout":          Func(checkout),
		"setup-node":        Func(setupNode),
		"upload-artifact":   Func(uploadArtifact),
		"download-artifact": Func(downloadArtifact),
	}
}

// input returns an input's trimmed text, or def if it is not given or empty.
func (c *Call) input(name, def string) string {
	if v := strings.TrimSpace(c.With[name]); v != "" {
		return v
	}
	return def
}

func (c *Call) flag(name string, def bool) (bool, error) {
	switch v := c.input(name, ""); strings.ToLower(v) {
	case "":
		return def, nil
	case "true":
		return true, nil
	case "false":
		return false, nil
	default:
		return def, userErrorf("input %s must be true or false, not %q", name, v)
	}
}

// refuse fails for inputs that would change what the step means and that it does not support.
func (c *Call) refuse(names ...string) error {
	for _, n := range names {
		if c.input(n, "") != "" {
			return userErrorf("input %s is not supported yet; remove it", n)
		}
	}
	return nil
}

// ignore says in the log which inputs have no effect here.
func (c *Call) ignore(reason string, names ...string) {
	for _, n := range names {
		if c.input(n, "") != "" {
			c.Log("Input %s has no effect: %s.", n, reason)
		}
	}
}

// abs is a path as steps see it; relative ones begin at the workspace, ~ is the home directory.
func (c *Call) abs(p string) string {
	switch {
	case p == "~" || strings.HasPrefix(p, "~/"):
		p = c.Home + p[1:]
	case !strings.HasPrefix(p, "/"):
		p = c.Trees[0].Prefix + "/" + p
	}
	return path.Clean(p)
}

// place finds the tree of a container path.
func (c *Call) place(p string) (t glob.Tree, rel string, err error) {
	abs := c.abs(p)
	for _, t := range c.Trees {
		if rel, ok := t.Rel(abs); ok {
			return t, rel, nil
		}
	}
	return glob.Tree{}, "", &UserError{Err: &glob.OutsideError{Path: abs, Trees: c.Trees}}
}

// retry calls f with a connection until it succeeds, fails for good, or ctx ends: an outage of the coordinator fails no step.
func (c *Call) retry(ctx context.Context, f func(context.Context, fleetv1.FleetServiceClient) error) error {
	for n := 0; ; n++ {
		client, err := c.Remote.Client(ctx)
		if err != nil {
			return err
		}
		err = f(ctx, client)
		if err == nil || ctx.Err() != nil || !transient(err) {
			return err
		}
		if n == 0 {
			c.Log("The coordinator can't be reached (%v); trying again until it can.", status.Convert(err).Message())
		}
		d := min(5*time.Second, 100*time.Millisecond<<min(n, 8))
		t := time.NewTimer(d/2 + rand.N(d/2))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
}

func transient(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.ResourceExhausted, codes.DeadlineExceeded, codes.Canceled:
		return true
	default:
		return false
	}
}

// get writes a blob to w, which is begun anew by reset before each try.
func (c *Call) get(ctx context.Context, digest string, w io.Writer, reset func() error) error {
	return c.retry(ctx, func(ctx context.Context, client fleetv1.FleetServiceClient) error {
		if err := reset(); err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := client.GetBlob(ctx, &fleetv1.GetBlobRequest{AttemptId: c.AttemptID, Token: c.Token, Digest: digest})
		if err != nil {
			return err
		}
		for {
			m, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if _, err := w.Write(m.GetData()); err != nil {
				return err
			}
		}
	})
}

// put stores r, read from its beginning at each try.
func (c *Call) put(ctx context.Context, r io.ReadSeeker) (digest string, size int64, err error) {
	err = c.retry(ctx, func(ctx context.Context, client fleetv1.FleetServiceClient) error {
		if _, err := r.Seek(0, io.SeekStart); err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := client.PutBlob(ctx)
		if err != nil {
			return err
		}
		if err := send(stream, c, r); err != nil {
			return err
		}
		resp, err := stream.CloseAndRecv()
		if err != nil {
			return err
		}
		digest, size = resp.GetDigest(), resp.GetSize()
		return nil
	})
	return digest, size, err
}

func send(stream fleetv1.FleetService_PutBlobClient, c *Call, r io.Reader) error {
	m := &fleetv1.PutBlobRequest{AttemptId: c.AttemptID, Token: c.Token}
	for {
		// gRPC may keep a message after Send returns: each has its own memory.
		buf := make([]byte, bytestream.Chunk)
		n, err := io.ReadFull(r, buf)
		m.Data = buf[:n]
		// io.EOF from Send: the status is in CloseAndRecv.
		if serr := stream.Send(m); errors.Is(serr, io.EOF) {
			return nil
		} else if serr != nil {
			return serr
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
		m = &fleetv1.PutBlobRequest{}
	}
}

// artifacts lists the run's artifacts.
func (c *Call) artifacts(ctx context.Context) ([]*corev1.Artifact, error) {
	var out []*corev1.Artifact
	err := c.retry(ctx, func(ctx context.Context, client fleetv1.FleetServiceClient) error {
		r, err := client.ListArtifacts(ctx, &fleetv1.ListArtifactsRequest{AttemptId: c.AttemptID, Token: c.Token})
		out = r.GetArtifacts()
		return err
	})
	return out, err
}

// plural is "1 file", "2 files".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
