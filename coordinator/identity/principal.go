package identity

import (
	"context"
	"slices"
	"time"

	"github.com/slipway-ci/slipway/internal/tlsutil"
)

// Admins is the group whose members may make tokens.
const Admins = "admins"

// Kind tells people from agents.
type Kind int

// The kinds of principals.
const (
	Anonymous Kind = iota
	User
	Agent
)

// Principal is who calls.
type Principal struct {
	Kind Kind
	// Name of the user, or the agent's id.
	Name   string
	Groups []string
	// Agent is of the certificate, for Kind Agent.
	Agent tlsutil.AgentIdentity
	// Expires is when the certificate or the user's token ends; Token is that token's hash.
	Expires time.Time
	Token   string
}

// In says whether the principal is a member of the group.
func (p Principal) In(group string) bool { return slices.Contains(p.Groups, group) }

// String is for logs: "user:ann", "agent:01j…".
func (p Principal) String() string {
	switch p.Kind {
	case User:
		return "user:" + p.Name
	case Agent:
		return "agent:" + p.Name
	case Anonymous:
	}
	return "anonymous"
}

type principalKey struct{}

// WithPrincipal returns a context that says who calls.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// FromContext returns who calls; the zero Principal is anonymous.
func FromContext(ctx context.Context) Principal {
	p, _ := ctx.Value(principalKey{}).(Principal)
	return p
}
