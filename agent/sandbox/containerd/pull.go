package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	coreimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/slipway-ci/slipway/agent/sandbox"
)

// Pulls says how patient pulls are. Zero values are the defaults.
type Pulls struct {
	// Tries of a registry that does not answer; 0 is 4.
	Tries int
	// Pause before the second try, doubled before each further one; 0 is 1 s.
	Pause time.Duration
	// Progress is how often a slow pull says how far it is; 0 is 5 s.
	Progress time.Duration
	// Stall is how long no byte may come before a try is given up; 0 is 60 s.
	Stall time.Duration
}

func (p *Pulls) complete() {
	if p.Tries <= 0 {
		p.Tries = 4
	}
	if p.Pause <= 0 {
		p.Pause = time.Second
	}
	if p.Progress <= 0 {
		p.Progress = 5 * time.Second
	}
	if p.Stall <= 0 {
		p.Stall = time.Minute
	}
}

// pull tries until the image is here, or trying again makes no sense.
func (i *images) pull(ctx context.Context, ref string, auth *sandbox.RegistryAuth, progress func(string)) (containerd.Image, error) {
	for try := 1; ; try++ {
		got, err := i.pullOnce(ctx, ref, auth, progress)
		if err == nil {
			return got, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("pulling %s: %w", ref, context.Cause(ctx))
		}
		reason := imageReason(err)
		if reason == sandbox.ImageFailed && i.full() {
			reason = sandbox.ImageDiskFull
		}
		if reason != sandbox.ImageUnreachable || try >= i.pulls.Tries {
			return nil, &sandbox.ImageError{Ref: ref, Reason: reason, Tries: try, Err: err}
		}
		pause := i.pulls.Pause << (try - 1)
		pause = pause/2 + rand.N(pause/2+1)
		progress(fmt.Sprintf("pulling %s failed, trying again in %s: %v", ref, pause.Round(10*time.Millisecond), err))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, fmt.Errorf("pulling %s: %w", ref, context.Cause(ctx))
		}
	}
}

// pullOnce pulls and unpacks, and says how far it is.
func (i *images) pullOnce(parent context.Context, ref string, auth *sandbox.RegistryAuth, progress func(string)) (containerd.Image, error) {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	ctx, done, err := uncollected(ctx, i.client)
	if err != nil {
		return nil, err
	}
	defer done()
	t := &transfer{store: i.client.ContentStore(), parts: map[string]ocispec.Descriptor{}}
	var watching sync.WaitGroup
	watching.Go(func() { i.watch(ctx, cancel, t, ref, progress) })
	got, err := i.client.Pull(ctx, ref, containerd.WithResolver(i.as(ref, auth)), containerd.WithPullUnpack,
		containerd.WithPullSnapshotter(i.snapshotter), containerd.WithImageHandler(t))
	var stalled *sandbox.StalledError
	if err != nil && errors.As(context.Cause(ctx), &stalled) {
		err = stalled
	}
	cancel(nil)
	watching.Wait()
	var status remoteerrors.ErrUnexpectedStatus
	if errors.As(err, &status) && status.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		t.restart(parent) // this registry can't go on in the middle
	}
	return got, err
}

// watch says how far a slow pull is, and gives up one that stands still.
func (i *images) watch(ctx context.Context, cancel context.CancelCauseFunc, t *transfer, ref string, progress func(string)) {
	tick := time.NewTicker(min(i.pulls.Progress, i.pulls.Stall/2))
	defer tick.Stop()
	began := time.Now()
	moved, said := began, began
	var last int64
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		done, total := t.sum(ctx)
		now := time.Now()
		if done != last || (total > 0 && done >= total) { // with every byte here, it is being unpacked
			last, moved = done, now
		}
		if now.Sub(moved) >= i.pulls.Stall {
			cancel(&sandbox.StalledError{After: i.pulls.Stall})
			return
		}
		if now.Sub(said) >= i.pulls.Progress {
			said = now
			progress(fmt.Sprintf("pulling %s: %s of %s in %s", ref, megabytes(done), megabytes(total), now.Sub(began).Round(time.Second)))
		}
	}
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// transfer is told of each part of an image before it is fetched.
type transfer struct {
	store content.Store
	mu    sync.Mutex
	parts map[string]ocispec.Descriptor
}

// Handle implements containerd's images.Handler.
func (t *transfer) Handle(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.parts[remotes.MakeRefKey(ctx, d)] = d
	return nil, nil
}

var _ coreimages.Handler = (*transfer)(nil)

// restart drops what is half here.
func (t *transfer) restart(ctx context.Context) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for ref := range t.parts {
		_ = t.store.Abort(ctx, ref) // mostly not found: whole or not begun
	}
}

// sum returns how many bytes of all known parts are here.
func (t *transfer) sum(ctx context.Context) (done, total int64) {
	t.mu.Lock()
	parts := make(map[string]ocispec.Descriptor, len(t.parts))
	for ref, d := range t.parts {
		parts[ref] = d
	}
	t.mu.Unlock()
	active := map[string]int64{}
	statuses, err := t.store.ListStatuses(ctx)
	if err != nil {
		return 0, 0
	}
	for _, s := range statuses {
		active[s.Ref] = s.Offset
	}
	for ref, d := range parts {
		total += d.Size
		if offset, ok := active[ref]; ok {
			done += offset
		} else if _, err := t.store.Info(ctx, d.Digest); err == nil {
			done += d.Size
		}
	}
	return done, total
}

// imageReason classifies what pulling said.
func imageReason(err error) sandbox.ImageReason {
	var status remoteerrors.ErrUnexpectedStatus
	var stalled *sandbox.StalledError
	var network net.Error
	switch {
	case errors.As(err, &status):
		return statusReason(status.StatusCode)
	case errors.Is(err, docker.ErrInvalidAuthorization), errdefs.IsUnauthorized(err), errdefs.IsPermissionDenied(err):
		return sandbox.ImageUnauthorised
	case errors.As(err, &stalled), errors.As(err, &network), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errdefs.IsUnavailable(err), errdefs.IsDeadlineExceeded(err):
		return sandbox.ImageUnreachable
	case errdefs.IsFailedPrecondition(err), errdefs.IsDataLoss(err):
		return sandbox.ImageDamaged // containerd's word for content that does not match its digest or size
	case errdefs.IsNotFound(err):
		return sandbox.ImageNotFound
	case errdefs.IsInvalidArgument(err):
		return sandbox.ImageInvalid
	default:
		return sandbox.ImageFailed
	}
}

func statusReason(code int) sandbox.ImageReason {
	switch {
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return sandbox.ImageUnauthorised
	case code == http.StatusNotFound, code == http.StatusGone:
		return sandbox.ImageNotFound
	case code >= 500, code == http.StatusTooManyRequests, code == http.StatusRequestTimeout,
		code == http.StatusRequestedRangeNotSatisfiable:
		return sandbox.ImageUnreachable
	default:
		return sandbox.ImageFailed
	}
}
