package engine

import (
	"context"
	"time"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// Control is what the API and the gateways ask of the leader. Every method, if it does not say otherwise, returns only after what it says is
// committed. Safe for concurrent use. Errors carry gRPC status codes through internal/rpcerr.
type Control interface {
	// Submit accepts a run. A repeat with the same RequestID returns the first result and does nothing.
	Submit(ctx context.Context, s Submission) (runID string, number uint64, err error)
	// Cancel asks a run to end; nil if it has ended or is already being cancelled.
	Cancel(ctx context.Context, requestID, runID, reason string) error
	// Run returns a run with its jobs; rpcerr NOT_FOUND when there is none. Accepts what GetRunRequest.run_id accepts.
	Run(ctx context.Context, id string) (*apiv1.Run, error)
	// Runs lists newest first, without steps; at most MaxRuns, limit 0 is 20.
	Runs(ctx context.Context, project string, limit int) ([]*apiv1.Run, error)
	// Watch sends the run as it is and again after changes (latest wins: a slow reader skips states, never the last). The channel is closed
	// after the terminal state, or when ctx ends.
	Watch(ctx context.Context, id string) (<-chan *apiv1.Run, error)

	// Connect registers a session of an agent, replacing its older one, and returns which of the agent's attempts live
	// on. out must not block.
	Connect(ctx context.Context, s Session, out Outbox) (live []string, err error)
	// Disconnect ends a session; the agent's attempts keep their grace. Ignored if the session is not the current one.
	Disconnect(agentID, sessionID string)
	// Heartbeat keeps a session alive. An agent with less free disk (bytes; 0 is unknown) than Scheduling.MinDiskFree is given nothing new.
	Heartbeat(agentID, sessionID string, diskFree int64)
	// AckHeartbeat answers the last heartbeat of a session, if this is its leader and the session is its agent's: the agent renews the
	// leases of its attempts by it.
	AckHeartbeat(agentID, sessionID string, echo uint64)
	// OfferReply accepts or rejects an offered attempt. Errors as Report's. An acceptance is stored with whatever is stored of the run next, and not
	// waited for: nothing follows from it that the assignment does not already allow.
	OfferReply(ctx context.Context, sessionID string, r *fleetv1.OfferReply) error
	// Report applies an attempt's report, idempotent by seq. SESSION_ENDED if the session is not its agent's current one, which says nothing
	// of the attempt; FENCED if the attempt is not this agent's any more.
	Report(ctx context.Context, sessionID string, r *corev1.Report) error
	// Attempt returns where an attempt belongs if token is its token and it is live; PERMISSION_DENIED otherwise. sessionAgent is the
	// agent of the caller's certificate.
	Attempt(ctx context.Context, sessionAgent, attemptID, token string) (AttemptRef, error)
	// AddArtifact names an artifact of the attempt's run.
	AddArtifact(ctx context.Context, ref AttemptRef, a *corev1.Artifact, overwrite bool) error
	// Agents lists every agent known.
	Agents(ctx context.Context) ([]*apiv1.Agent, error)
	Rerunner
	AgentControl
	Lister
	DebugControl
	Explainer
	SecretControl
}

// Submission is a compiled run.
type Submission struct {
	RequestID string
	Project   string
	Plan      *planv1.Plan
	// PlanDigest: the plan is already in the blob store.
	PlanDigest   string
	Source       *corev1.Source
	Event        string
	EventPayload string
	Actor        string
	Traceparent  string
	// Vars are the project's variables as they are now; the run keeps them.
	Vars map[string]string
	// Hold is how long the pods of jobs that fail are kept for debugging, at most Config.MaxHold; 0 is not at all.
	Hold time.Duration
}

// Session is one connection of one agent; identity, pool and labels come from its certificate.
type Session struct {
	ID       string
	AgentID  string
	Hostname string
	Version  string
	Pool     string
	Labels   []string
	Capacity *fleetv1.Capacity
	// Abilities are what pools' policies may ask of the agent; nil if it does not say.
	Abilities *fleetv1.Abilities
	// Attempts that the agent says it still holds.
	Attempts []string
	// Drain: the agent stops and wants no work; nil if it takes some.
	Drain *fleetv1.Drain
	// Problems are what is wrong with the agent, in its own words.
	Problems []string
}

// AttemptRef is where an attempt belongs.
type AttemptRef struct {
	RunID, JobID, AttemptID string
	Project                 string
	// Source tree digest that this attempt may read.
	Source string
	// Secrets: the attempt may be given secrets. Its pool's policy decides, so that whoever has its token gets none else.
	Secrets bool
}

// Outbox takes messages for one session, in order, without blocking.
type Outbox interface {
	Send(m *fleetv1.SessionResponse)
	// End says that the engine has given the session up: another one took its place, or it was silent for too long. The connection is to be
	// ended, so that the agent begins a new session; its attempts live on.
	End(reason error)
}
