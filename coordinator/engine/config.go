package engine

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/coordinator/blob"
	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/coordinator/leader"
	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/internal/clock"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// PlanLoader returns stored plans. Safe for concurrent use.
type PlanLoader interface {
	// LoadPlan returns the plan of a digest; the caller does not change it.
	LoadPlan(ctx context.Context, digest string) (*planv1.Plan, error)
}

// Config configures an Engine.
type Config struct {
	Store store.Store
	// Term under which the engine runs; it stops when the term ends.
	Term  leader.Term
	Plans PlanLoader
	// Runners: what a label of `runs-on` means.
	Runners map[string]config.Runner
	// Pools: policies by name; a pool that is not there has the zero one.
	Pools map[string]config.Pool
	// Projects are the projects' parts, by name.
	Projects map[string]config.Project
	// Scheduling is the policy of the queue; zero fields ask for nothing.
	Scheduling config.Scheduling
	Clock      clock.Clock
	// NewID makes ids of runs, attempts and transitions.
	NewID func() string
	// Random fills tokens; crypto/rand.Reader outside simulations.
	Random io.Reader
	Log    *slog.Logger
	// Metrics may be nil.
	Metrics *Metrics
	// Tracer sends the spans of runs; its ids are of spans.IDs. nil traces nothing.
	Tracer trace.Tracer
	// SessionDeadline: a session without a heartbeat for that long is lost; 0 is 30 s.
	SessionDeadline time.Duration
	// Grace: how long the attempts of an absent agent are kept; 0 is 2 minutes.
	Grace time.Duration
	// Tick is how often deadlines are looked at; 0 is 500 ms.
	Tick time.Duration
	// DefaultCPUMilli and DefaultMemory (bytes) are reserved for a job that does not say.
	DefaultCPUMilli, DefaultMemory int64
	// MaxHold is the longest that the pod of a failed job may be kept for debugging; 0 keeps none.
	MaxHold time.Duration
	// External says that the store is an etcd of others, with its limit of 128 operations a transaction.
	External bool
	// Admit, if set, refuses new runs with its error; it must not block.
	Admit func() error
	// History has the runs that were sealed; nil if none ever is.
	History History
	// Sealer, if set, is told of every run that ended, after its last commit, from the engine's goroutine; it must not block.
	Sealer func(runID string, endedMS int64)
	// Mutants are bugs planted on purpose; see there.
	Mutants Mutants
}

func (c *Config) defaults() {
	if c.SessionDeadline <= 0 {
		c.SessionDeadline = 30 * time.Second
	}
	if c.Grace <= 0 {
		c.Grace = 2 * time.Minute
	}
	if c.Tick <= 0 {
		c.Tick = 500 * time.Millisecond
	}
	if c.Admit == nil {
		c.Admit = func() error { return nil }
	}
	if c.History == nil {
		c.History = noHistory{}
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
}

// maxPlanBytes bounds a stored plan, so that a wrong digest can't fill the memory.
const maxPlanBytes = 64 << 20

// BlobPlans loads plans from the blob store.
type BlobPlans struct{ Blobs blob.Store }

// StorePlan implements PlanKeeper.
func (b BlobPlans) StorePlan(ctx context.Context, plan []byte) (string, error) {
	digest, _, err := b.Blobs.Put(ctx, bytes.NewReader(plan))
	return digest, err
}

// LoadPlan implements PlanLoader.
func (b BlobPlans) LoadPlan(ctx context.Context, digest string) (*planv1.Plan, error) {
	r, size, err := b.Blobs.Open(ctx, digest)
	if err != nil {
		return nil, fmt.Errorf("plan %s: %w", digest, err)
	}
	defer func() { _ = r.Close() }()
	if size > maxPlanBytes {
		return nil, fmt.Errorf("plan %s: %d bytes are more than a plan may have", digest, size)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("plan %s: %w", digest, err)
	}
	plan := &planv1.Plan{}
	if err := proto.Unmarshal(data, plan); err != nil {
		return nil, fmt.Errorf("plan %s: %w", digest, err)
	}
	return plan, nil
}
