// Package images turns the image names of a workflow into references by digest, when a run is submitted: so every job of a run, and
// every attempt, uses the same bytes, and an image that is not there is known before anything starts.
package images

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/singleflight"

	"github.com/docker/cli/cli/config/configfile"

	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/internal/clock"
	"github.com/slipway-ci/slipway/internal/rpcerr"
)

const (
	// keepFor is how long an answer is used again. Short: a tag that was just pushed must be seen.
	keepFor = 10 * time.Second
	// keepMost bounds the answers in memory.
	keepMost = 4096
	// askFor bounds one question to a registry, with its retries.
	askFor = 20 * time.Second
	// dockerHub is the registry of names without a host. Libraries call it otherwise inside.
	dockerHub = "docker.io"
)

// Resolver asks registries for digests. Safe for concurrent use.
type Resolver struct {
	registries map[string]config.Registry
	auth       map[string]*configfile.ConfigFile
	clock      clock.Clock
	transport  *http.Transport
	flight     singleflight.Group

	mu   sync.Mutex
	kept map[string]answer
}

type answer struct {
	pinned string
	until  time.Time
}

// New returns a resolver for the configured registries. Reads their docker_config files.
func New(registries map[string]config.Registry, c clock.Clock) (*Resolver, error) {
	r := &Resolver{registries: registries, auth: map[string]*configfile.ConfigFile{}, clock: c, kept: map[string]answer{}}
	for host, reg := range registries {
		if reg.DockerConfig == "" {
			continue
		}
		f, err := readDockerConfig(reg.DockerConfig)
		if err != nil {
			return nil, fmt.Errorf("reading the docker_config of registry %s: %w", host, err)
		}
		r.auth[host] = f
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second, Control: refuseMetadata}
	r.transport = &http.Transport{
		DialContext: dialer.DialContext, Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: 10 * time.Second, IdleConnTimeout: 30 * time.Second, MaxIdleConnsPerHost: 8,
	}
	return r, nil
}

func readDockerConfig(path string) (*configfile.ConfigFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	conf := configfile.New(path)
	return conf, conf.LoadFromReader(f)
}

// refuseMetadata keeps a workflow's image name from making the coordinator talk to a cloud's metadata service.
func refuseMetadata(_, address string, _ syscall.RawConn) error {
	a, err := netip.ParseAddrPort(address)
	if err == nil && a.Addr().Unmap().IsLinkLocalUnicast() {
		return fmt.Errorf("%s is a link-local address, where no registry is asked", a.Addr())
	}
	return nil
}

// Close ends idle connections.
func (r *Resolver) Close() { r.transport.CloseIdleConnections() }

// Resolve returns the reference by digest of an image as a workflow names it, in the registry that agents pull it from. The error is
// ImageUnavailable.
func (r *Resolver) Resolve(ctx context.Context, image string) (pinned string, err error) {
	return r.ResolveAs(ctx, image, Credentials{})
}

// ResolveAs is Resolve by somebody in particular. The credentials are remembered as a digest only.
func (r *Resolver) ResolveAs(ctx context.Context, image string, auth Credentials) (pinned string, err error) {
	key := image
	if auth != (Credentials{}) {
		key = fmt.Sprintf("%s %x", image, sha256.Sum256(fmt.Appendf(nil, "%q %q %q", image, auth.Username, auth.Password)))
	}
	if pinned, ok := r.recall(key); ok {
		return pinned, nil
	}
	if err := ctx.Err(); err != nil {
		return "", err // who hung up in the middle of a plan asks for none of its other images
	}
	// Shared by all who ask at once, so it must not end with the first one's context.
	ch := r.flight.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askFor)
		defer cancel()
		pinned, err := r.ask(ctx, image, auth)
		if err == nil {
			r.keep(key, pinned)
		}
		return pinned, err
	})
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case res := <-ch:
		pinned, _ = res.Val.(string)
		return pinned, res.Err
	}
}

func (r *Resolver) recall(image string) (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, ok := r.kept[image]
	return a.pinned, ok && r.clock.Now().Before(a.until)
}

func (r *Resolver) keep(image, pinned string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock.Now()
	if len(r.kept) >= keepMost {
		for k, a := range r.kept {
			if !now.Before(a.until) {
				delete(r.kept, k)
			}
		}
	}
	if len(r.kept) < keepMost {
		r.kept[image] = answer{pinned: pinned, until: now.Add(keepFor)}
	}
}

// place is where an image is looked for.
type place struct {
	ref  name.Reference
	host string // as the configuration names it
	conf config.Registry
}

func (p place) String() string {
	if p.conf.Mirror != "" {
		return fmt.Sprintf("%s (the mirror of %s)", p.ref.Name(), p.host)
	}
	return p.ref.Name()
}

// find maps a workflow's name to where it is looked for.
func (r *Resolver) find(image string) (place, error) {
	ref, err := name.ParseReference(image)
	if err != nil {
		return place{}, err
	}
	p := place{ref: ref, host: ref.Context().RegistryStr()}
	if p.host == name.DefaultRegistry {
		p.host = dockerHub
	}
	p.conf = r.registries[p.host]
	if p.conf == (config.Registry{}) {
		return p, nil
	}
	host := p.conf.Mirror
	if host == "" {
		host = ref.Context().RegistryStr()
	}
	var opts []name.Option
	if p.conf.PlainHTTP {
		opts = append(opts, name.Insecure)
	}
	repo, err := name.NewRepository(host+"/"+ref.Context().RepositoryStr(), opts...)
	if err != nil {
		return p, fmt.Errorf("its mirror's name is bad: %w", err)
	}
	if digest, ok := ref.(name.Digest); ok {
		p.ref = repo.Digest(digest.DigestStr())
	} else {
		p.ref = repo.Tag(ref.Identifier())
	}
	return p, nil
}

func (r *Resolver) ask(ctx context.Context, image string, as Credentials) (string, error) {
	p, err := r.find(image)
	if err != nil {
		return "", rpcerr.New(rpcerr.ImageUnavailable, "%q is not an image's name: %v; write it as [registry/]repository[:tag] or …@sha256:…", image, err)
	}
	opts := []remote.Option{
		remote.WithContext(ctx), remote.WithTransport(r.transport), remote.WithUserAgent("slipway"),
		remote.WithRetryBackoff(remote.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Steps: 2}),
	}
	if as != (Credentials{}) {
		opts = append(opts, remote.WithAuth(authn.FromConfig(authn.AuthConfig{Username: as.Username, Password: as.Password})))
	} else if auth, err := r.credentials(p); err != nil {
		return "", rpcerr.New(rpcerr.ImageUnavailable, "no credentials for %s could be read: %v", p.host, err)
	} else if auth != nil {
		opts = append(opts, remote.WithAuth(auth))
	}
	desc, err := remote.Head(p.ref, opts...)
	if err == nil {
		return p.ref.Context().Digest(desc.Digest.String()).Name(), nil
	}
	return "", rpcerr.New(rpcerr.ImageUnavailable, "image %q is not available: looked for %s: %s", image, p, explain(err, p.host))
}

// credentials are looked up under the name that the configuration uses, then under the mirror's.
func (r *Resolver) credentials(p place) (authn.Authenticator, error) {
	f := r.auth[p.host]
	if f == nil {
		return nil, nil
	}
	keys := []string{p.ref.Context().RegistryStr(), p.host}
	if p.host == dockerHub {
		keys = append(keys, authn.DefaultAuthKey)
	}
	for _, key := range keys {
		c, err := f.GetAuthConfig(key)
		if err != nil {
			return nil, err
		}
		if c.Username != "" || c.Auth != "" || c.IdentityToken != "" || c.RegistryToken != "" {
			return authn.FromConfig(authn.AuthConfig{Username: c.Username, Password: c.Password, Auth: c.Auth, IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken}), nil
		}
	}
	return nil, nil
}

// explain says why a registry gave no digest, and what to do.
func explain(err error, host string) string {
	var answered *transport.Error
	if !errors.As(err, &answered) {
		return fmt.Sprintf("it can't be reached (%v); check that the registry runs, and `registries: %s` in the coordinator's configuration", rootCause(err), host)
	}
	switch answered.StatusCode {
	case http.StatusNotFound:
		return fmt.Sprintf("the registry has no such image; correct the name, or push it there, or set `registries: %s` in the coordinator's configuration to where it is", host)
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Sprintf("the registry wants (other) credentials; give the container `credentials`, or set docker_config of `registries: %s` in the coordinator's configuration", host)
	}
	return fmt.Sprintf("the registry answered %d %s; try again, or look at its log", answered.StatusCode, http.StatusText(answered.StatusCode))
}

// rootCause drops what the URL in the message says again.
func rootCause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op
	}
	return err
}
