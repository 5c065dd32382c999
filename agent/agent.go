// Package agent runs jobs on one host for a coordinator. It wires the session, the runners, the sandbox and the local
// database, and does nothing itself.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/agent/holder"
	"github.com/slipway-ci/slipway/agent/logs"
	"github.com/slipway-ci/slipway/agent/native"
	"github.com/slipway-ci/slipway/agent/runner"
	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/session"
	"github.com/slipway-ci/slipway/agent/state"
	"github.com/slipway-ci/slipway/agent/workspace"
	"github.com/slipway-ci/slipway/internal/clock"
	"github.com/slipway-ci/slipway/internal/spans"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// Config of an agent. Address and DataDir are needed, the rest has defaults.
type Config struct {
	// Address of the coordinator, host:port.
	Address string
	// DataDir keeps identity, database and attempts.
	DataDir string
	// RunDir is for secrets: a directory on a tmpfs, the same at every start. "" is workspace.RunDir's proposal.
	RunDir string
	// JoinToken is needed only while DataDir has no valid certificate.
	JoinToken string
	// CA of the coordinator, PEM, for joining; if empty, the token's pin recognises it.
	CA []byte
	// Hostname for people; "" asks the system.
	Hostname string
	Version  string
	// Slots is how many jobs run at once; 0 is twice the number of processors.
	Slots int
	// MetricsAddr serves /metrics and /healthz over plain http; "" serves nothing.
	MetricsAddr string
	// Tracer, whose ids are of spans.IDs; nil traces nothing.
	Tracer trace.TracerProvider
	// Protect: make the kernel kill jobs before this process when memory runs out. Not for agents whose jobs are their children.
	Protect bool
	// Clock; nil is the machine's.
	Clock clock.Clock
	// Natives; nil is native.All().
	Natives map[string]native.Action
	// Label that the agent's certificate must have, or it does not work: what this agent does needs the consent of whoever
	// made its join token. "" is none.
	Label string
}

// Agent holds a host's attempts.
type Agent struct {
	cfg      Config
	sandbox  sandbox.Sandbox
	log      *slog.Logger
	registry *prometheus.Registry
	layout   *workspace.Layout
	db       *state.DB
	watcher  *logs.Watcher
	session  *session.Client
	deps     runner.Deps
	holder   *holder.Holder
	diskFree atomic.Int64
	metrics  atomic.Pointer[net.TCPAddr]
	ready    chan struct{}
	isReady  sync.Once
	drains   chan drain
}

// New checks the configuration. The sandbox stays the caller's to close, after Run has returned.
func New(cfg Config, sb sandbox.Sandbox, log *slog.Logger) (*Agent, error) {
	if cfg.Address == "" || cfg.DataDir == "" {
		return nil, errors.New("agent: the coordinator's address and a data directory are needed")
	}
	dir, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	cfg.DataDir = dir
	if cfg.Hostname == "" {
		if cfg.Hostname, err = os.Hostname(); err != nil {
			return nil, fmt.Errorf("agent: ask the system for its host name: %w", err)
		}
	}
	if cfg.Slots <= 0 {
		cfg.Slots = 2 * runtime.NumCPU()
	}
	if cfg.RunDir == "" {
		cfg.RunDir, _ = workspace.RunDir(dir)
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.Real{}
	}
	if cfg.Natives == nil {
		cfg.Natives = native.All()
	}
	if cfg.Version == "" {
		cfg.Version = "dev"
	}
	return &Agent{cfg: cfg, sandbox: sb, log: log, registry: prometheus.NewRegistry(), ready: make(chan struct{}), drains: make(chan drain, 1)}, nil
}

// Run joins if needed, connects and works until ctx ends or a drain is over. Jobs that run then live on in their pods; the next Run goes on
// with them. A second agent on the same data directory is an error.
func (a *Agent) Run(ctx context.Context) error {
	ctx, leave := context.WithCancel(ctx)
	var drainer sync.WaitGroup
	defer drainer.Wait()
	defer leave()
	drainer.Go(func() { a.awaitDrain(ctx, leave) })
	if a.cfg.Protect {
		if err := protect(); err != nil {
			a.log.Warn("the agent is not protected from the kernel's search for memory; jobs that take all of it may end it, though not their own steps", "error", err)
		}
	}
	closeAll, err := a.open(ctx)
	defer closeAll()
	if err != nil {
		return err
	}
	a.isReady.Do(func() { close(a.ready) })
	actorsCtx, stopActors := context.WithCancel(ctx)
	defer stopActors()
	a.holder.Start(actorsCtx, holder.Config{Deps: a.deps, Slots: a.cfg.Slots, Forget: a.session.Forget})
	err = a.session.Run(ctx)
	stopActors()
	a.holder.Wait()
	return err
}

// Ready is closed once the agent has its identity and begins to connect; whether a coordinator is there does not matter.
func (a *Agent) Ready() <-chan struct{} { return a.ready }

// Alive is an error if the agent does not answer itself before ctx ends: then it hangs.
func (a *Agent) Alive(ctx context.Context) error {
	answered := make(chan struct{})
	go func() {
		a.holder.Held()
		close(answered)
	}()
	select {
	case <-answered:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("agent: its state is held by something that does not let go: %w", context.Cause(ctx))
	}
}

// open makes everything that Run needs; closeAll ends what was made.
func (a *Agent) open(ctx context.Context) (closeAll func(), err error) {
	var closers []func()
	closeAll = func() {
		for i := len(closers) - 1; i >= 0; i-- {
			closers[i]()
		}
	}
	if a.layout, err = workspace.NewLayout(a.cfg.DataDir, a.cfg.RunDir); err != nil {
		return closeAll, err
	}
	if !workspace.IsTmpfs(a.cfg.RunDir) {
		a.log.Warn("the run directory is not on a tmpfs: scripts and values of running jobs reach the disk", "dir", a.cfg.RunDir)
	}
	a.db, err = state.OpenWith(state.Config{Dir: filepath.Join(a.cfg.DataDir, "state"), Boot: state.Boot(), Mirror: filepath.Join(a.cfg.RunDir, "records")})
	if err != nil {
		return closeAll, err
	}
	closers = append(closers, func() {
		if err := a.db.Close(); err != nil {
			a.log.Error("the database could not be closed", "error", err)
		}
	})
	records, err := a.loadRecords()
	if err != nil {
		return closeAll, err
	}
	a.holder = holder.New(records)
	if a.watcher, err = logs.NewWatcher(); err != nil {
		return closeAll, err
	}
	closers = append(closers, func() { _ = a.watcher.Close() })
	stopMetrics, err := a.serveMetrics(ctx)
	if err != nil {
		return closeAll, err
	}
	closers = append(closers, stopMetrics, a.watch(ctx))
	return closeAll, a.connect(ctx)
}

func (a *Agent) connect(ctx context.Context) error {
	creds, err := session.LoadOrJoin(ctx, session.JoinConfig{
		Address: a.cfg.Address, Dir: filepath.Join(a.cfg.DataDir, "identity"), Token: a.cfg.JoinToken, CA: a.cfg.CA,
		Hostname: a.cfg.Hostname, Now: a.cfg.Clock.Now,
	})
	if err != nil {
		return err
	}
	id := creds.Identity()
	if a.cfg.Label != "" && !slices.Contains(id.Labels, a.cfg.Label) {
		return fmt.Errorf("agent: its certificate (pool %s) does not have the label %q, without which it may not run jobs like this: make a token with "+
			"`slipway agents join-token --pool POOL --labels %s`, remove %s and join again", id.Pool, a.cfg.Label, a.cfg.Label, filepath.Join(a.cfg.DataDir, "identity"))
	}
	a.log = a.log.With("agent", id.ID)
	a.log.Info("agent starting", "pool", id.Pool, "labels", id.Labels, "coordinator", a.cfg.Address, "slots", a.cfg.Slots, "held", len(a.holder.Held()))
	m := newMetrics()
	a.session = session.New(session.Config{
		Address: a.cfg.Address, Credentials: creds, Hostname: a.cfg.Hostname, Version: a.cfg.Version, Capacity: a.capacity(), Abilities: a.abilities(),
		DiskFree: a.diskFree.Load, Condition: a.condition, Handler: a.holder, Leased: a.holder.Leased, Renew: a.holder.Renew, Clock: a.cfg.Clock, Log: a.log,
		DialOptions: a.tracing(), OnState: m.session,
	})
	m.register(a)
	a.deps = runner.Deps{
		Sandbox: a.sandbox, DB: a.db, Layout: a.layout, Watcher: a.watcher, Remote: a.session, Report: a.session.Report, Natives: a.cfg.Natives,
		Clock: a.cfg.Clock, Metrics: m.runner, Log: a.log, AgentName: id.ID, Hostname: a.cfg.Hostname,
	}
	if a.cfg.Tracer != nil {
		a.deps.Tracer = a.cfg.Tracer.Tracer("github.com/slipway-ci/slipway/agent", trace.WithSchemaURL(spans.SchemaURL))
	}
	return nil
}

// abilities are what the sandbox says of itself; nil if it can't say.
func (a *Agent) abilities() *fleetv1.Abilities {
	able, ok := a.sandbox.(sandbox.Able)
	if !ok {
		return nil
	}
	found := able.Abilities()
	out := &fleetv1.Abilities{Isolation: map[string]string{}, Runtimes: found.Runtimes}
	for level, why := range found.Isolation {
		out.Isolation[string(level)] = why
	}
	return out
}

func (a *Agent) capacity() *fleetv1.Capacity {
	c := &fleetv1.Capacity{CpuMilli: int64(runtime.NumCPU()) * 1000, Slots: uint32(a.cfg.Slots)}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		c.Memory = int64(info.Totalram) * int64(info.Unit)
	}
	return c
}
