package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-ci/slipway/agent/sandbox"
)

// image is what a container needs to know of its image.
type image struct {
	ref    string
	chain  string // the snapshot of all its layers
	config ocispec.ImageConfig
	health *sandbox.Health // of the image's HEALTHCHECK; nil if it has none
}

// images pulls and unpacks each image once. Safe for concurrent use.
type images struct {
	client      *containerd.Client
	snapshotter string
	resolver    remotes.Resolver
	registries  map[string]Registry
	pulls       Pulls
	root        string // where the snapshotter writes; "" if that is not known

	mu    sync.Mutex
	known map[string]*image
	locks map[string]chan struct{} // a semaphore of one for each image
}

func newImages(client *containerd.Client, cfg Config, root string) *images {
	return &images{
		client: client, snapshotter: cfg.Snapshotter, resolver: newResolver(cfg.Registries), registries: cfg.Registries, pulls: cfg.Pulls, root: root,
		known: map[string]*image{}, locks: map[string]chan struct{}{},
	}
}

// as is a resolver that shows the registry of an image the credentials of its job, in place of the host's own.
func (i *images) as(ref string, auth *sandbox.RegistryAuth) remotes.Resolver {
	if auth == nil {
		return i.resolver
	}
	host, _, _ := strings.Cut(ref, "/")
	own := i.registries[host]
	own.Username, own.Password = auth.Username, auth.Password
	all := map[string]Registry{host: own}
	if host == "docker.io" {
		all["registry-1.docker.io"] = own
	}
	return newResolver(all)
}

func newResolver(registries map[string]Registry) remotes.Resolver {
	auth := docker.NewDockerAuthorizer(docker.WithAuthCreds(func(host string) (string, string, error) {
		r := registries[host]
		return r.Username, r.Password, nil
	}))
	return docker.NewResolver(docker.ResolverOptions{Hosts: docker.ConfigureDefaultRegistries(
		docker.WithAuthorizer(auth),
		docker.WithPlainHTTP(func(host string) (bool, error) { return registries[host].PlainHTTP, nil }),
	)})
}

// get returns an image that is unpacked on this host, pulling it if need be: with auth, nil being the host's own.
func (i *images) get(ctx context.Context, ref string, auth *sandbox.RegistryAuth, progress func(string)) (*image, error) {
	if !strings.Contains(ref, "@sha256:") {
		return nil, &sandbox.ImageError{Ref: ref, Reason: sandbox.ImageInvalid, Err: errors.New("not a reference by digest")}
	}
	i.mu.Lock()
	img, lock := i.known[ref], i.locks[ref]
	if lock == nil {
		lock = make(chan struct{}, 1)
		i.locks[ref] = lock
	}
	i.mu.Unlock()
	if img != nil {
		return img, nil
	}
	select { // one pull at a time for each image
	case lock <- struct{}{}:
		defer func() { <-lock }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	i.mu.Lock()
	img = i.known[ref]
	i.mu.Unlock()
	if img != nil {
		return img, nil
	}
	img, err := i.fetch(ctx, ref, auth, progress)
	if err != nil {
		return nil, err
	}
	i.mu.Lock()
	i.known[ref] = img
	i.mu.Unlock()
	return img, nil
}

// forget drops what was remembered of an image, because its snapshot turned out to be gone.
func (i *images) forget(ref string) {
	i.mu.Lock()
	delete(i.known, ref)
	i.mu.Unlock()
}

func (i *images) fetch(ctx context.Context, ref string, auth *sandbox.RegistryAuth, progress func(string)) (*image, error) {
	got, err := i.client.GetImage(ctx, ref)
	unpacked := false
	if err == nil {
		unpacked, err = got.IsUnpacked(ctx, i.snapshotter)
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("%w: looking up %s: %w", sandbox.ErrImage, ref, err)
	}
	if !unpacked {
		began := time.Now()
		progress("pulling " + ref)
		if got, err = i.pull(ctx, ref, auth, progress); err != nil {
			return nil, err
		}
		progress(fmt.Sprintf("pulled %s in %s", ref, time.Since(began).Round(10*time.Millisecond)))
	}
	return i.inspect(ctx, ref, got)
}

// dockerConfig is the part of Docker's image configuration that the OCI specification left out. Durations are in
// nanoseconds.
type dockerConfig struct {
	Config struct {
		Healthcheck *struct {
			Test                           []string
			Interval, Timeout, StartPeriod time.Duration
			Retries                        int
		}
	} `json:"config"`
}

func (i *images) inspect(ctx context.Context, ref string, got containerd.Image) (*image, error) {
	unusable := func(what string, err error) error {
		return &sandbox.ImageError{Ref: ref, Reason: sandbox.ImageInvalid, Err: fmt.Errorf("%s: %w", what, err)}
	}
	diffs, err := got.RootFS(ctx)
	if err != nil {
		return nil, unusable("its layers", err)
	}
	desc, err := got.Config(ctx)
	if err != nil {
		return nil, unusable("its configuration", err)
	}
	blob, err := content.ReadBlob(ctx, i.client.ContentStore(), desc)
	if err != nil {
		return nil, unusable("its configuration", err)
	}
	var config ocispec.Image
	var extra dockerConfig
	if err := json.Unmarshal(blob, &config); err != nil {
		return nil, unusable("its configuration", err)
	}
	if err := json.Unmarshal(blob, &extra); err != nil {
		return nil, unusable("its health check", err)
	}
	img := &image{ref: ref, chain: identity.ChainID(diffs).String(), config: config.Config}
	if h := extra.Config.Healthcheck; h != nil && len(h.Test) > 1 {
		img.health = &sandbox.Health{
			Command: h.Test[1:], Interval: h.Interval, Timeout: h.Timeout, StartPeriod: h.StartPeriod, Retries: h.Retries,
		}
		if h.Test[0] == "CMD" && len(h.Test) == 2 {
			// A single element means a shell in sandbox.Health, and CMD means none; exec keeps the difference small.
			img.health.Command = []string{"exec " + quote(h.Test[1])}
		}
	}
	return img, nil
}

// quote makes one word for a POSIX shell.
func quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

// otherImages gets those of the services and of single steps.
func (s *Sandbox) otherImages(ctx context.Context, m *making) error {
	m.services = make([]*image, len(m.spec.Services))
	g, gctx := errgroup.WithContext(ctx)
	for _, ref := range m.spec.StepImages {
		g.Go(func() error {
			_, err := s.images.get(gctx, ref, m.auth(ref), m.progress)
			return err
		})
	}
	for i, svc := range m.spec.Services {
		g.Go(func() (err error) {
			m.services[i], err = s.images.get(gctx, svc.Image, m.auth(svc.Image), m.progress)
			return err
		})
	}
	return g.Wait()
}
