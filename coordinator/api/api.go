// Package api serves api/v1 to people and their tools. The servers are thin: they check what a caller sent, call the package that does the
// work, and say what went wrong. Callers are identified, and refused, by identity.Guard before they get here.
package api

import (
	"log/slog"
	"time"

	"google.golang.org/grpc"

	"github.com/slipway-ci/slipway/coordinator/artifacts"
	"github.com/slipway-ci/slipway/coordinator/blob"
	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/identity"
	"github.com/slipway-ci/slipway/coordinator/images"
	"github.com/slipway-ci/slipway/coordinator/logs"
	"github.com/slipway-ci/slipway/coordinator/relay"
	"github.com/slipway-ci/slipway/coordinator/secrets"
	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/internal/clock"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	"github.com/slipway-ci/slipway/pipeline/diag"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// Compiler compiles a workflow file: compile.Compile with this coordinator's options. read returns other files of its source tree, fs.ErrNotExist
// for one that is not there. The plan is nil if a finding is an error.
type Compiler func(path string, src []byte, read func(path string) ([]byte, error)) (*planv1.Plan, diag.List)

// Deps is what the servers work with.
type Deps struct {
	Control engine.Control
	Compile Compiler
	Images  *images.Planner
	Store   store.Store
	Blobs   blob.Store
	Logs    *logs.Store
	// Sealed has the logs of runs that have left Logs; nil if none has.
	Sealed    SealedLogs
	Artifacts *artifacts.Artifacts
	Tokens    *identity.Tokens
	// Secrets has secrets and variables.
	Secrets *secrets.Store
	Limits  config.Limits
	Clock   clock.Clock
	Log     *slog.Logger
	// Relay joins debug sessions with their agents; NewID makes their ids.
	Relay *relay.Relay
	NewID func() string
	// MaxHold is the longest that the pods of failed jobs may be held.
	MaxHold time.Duration
	// Pages are where the coordinator shows runs to browsers; nil if it does not.
	Pages *Pages
	// Stop ends followers when the coordinator stops.
	Stop <-chan struct{}
}

// Readers are the services that pages are made of, for calls from the coordinator's own process. Nobody guards them there: the caller has let its
// visitor in, and says who it is with identity.WithPrincipal.
type Readers struct {
	Runs      apiv1.RunServiceServer
	Logs      apiv1.LogServiceServer
	Artifacts apiv1.ArtifactServiceServer
}

// NewReaders returns them.
func NewReaders(d Deps) Readers {
	return Readers{Runs: &runs{Deps: d}, Logs: &logServer{Deps: d}, Artifacts: &artifactServer{Deps: d}}
}

// Register adds all services to a gRPC server.
func Register(s grpc.ServiceRegistrar, d Deps) {
	apiv1.RegisterWebServiceServer(s, &webServer{Deps: d})
	apiv1.RegisterRunServiceServer(s, &runs{Deps: d})
	apiv1.RegisterLogServiceServer(s, &logServer{Deps: d})
	apiv1.RegisterBlobServiceServer(s, &blobs{Deps: d})
	apiv1.RegisterArtifactServiceServer(s, &artifactServer{Deps: d})
	apiv1.RegisterAgentServiceServer(s, &agents{Deps: d})
	apiv1.RegisterDebugServiceServer(s, &debug{Deps: d})
	apiv1.RegisterTokenServiceServer(s, &tokens{Deps: d})
	apiv1.RegisterSecretServiceServer(s, &secretServer{Deps: d})
	apiv1.RegisterVariableServiceServer(s, &variableServer{Deps: d})
}

// internal hides from a caller what it can't help.
func (d *Deps) internal(what string, err error) error { return rpcerr.Hide(d.Log, what, err) }

// stopped is the answer to a follower when the coordinator stops.
func stopped() error {
	return rpcerr.New(rpcerr.NotLeader, "the coordinator is stopping; call again")
}
