package identity

import (
	"context"
	"log/slog"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/slipway-ci/slipway/internal/apart"
	"github.com/slipway-ci/slipway/internal/clock"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	"github.com/slipway-ci/slipway/internal/tlsutil"
)

// Guard lets calls through to their handlers with a Principal in their context, or refuses them, and writes the audit log.
type Guard struct {
	tokens  *Tokens
	removed *removals
	clock   clock.Clock
	log     *slog.Logger
}

// NewGuard returns a guard that knows users by tokens.
func NewGuard(tokens *Tokens, c clock.Clock, log *slog.Logger) *Guard {
	return &Guard{tokens: tokens, removed: newRemovals(tokens.store, c), clock: c, log: log}
}

// Unary is a grpc.UnaryServerInterceptor.
func (g *Guard) Unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	r := ruleOf(info.FullMethod)
	p, err := g.check(ctx, r, info.FullMethod)
	var resp any
	if err == nil {
		resp, err = next(WithPrincipal(ctx, p), req)
	}
	if r.audit {
		g.audit(ctx, p, info.FullMethod, req, err)
	}
	return resp, err
}

// Stream is a grpc.StreamServerInterceptor.
func (g *Guard) Stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	s := &stream{ServerStream: ss}
	// A stream may live for days, and all agents have one.
	var err error
	apart.Do(func() { err = g.admit(s, info.FullMethod) })
	if err == nil {
		err = next(srv, s)
	}
	g.ended(s, info.FullMethod, err)
	return err
}

// admit gives a stream the context that says who calls.
func (g *Guard) admit(s *stream, method string) error {
	ctx := s.ServerStream.Context()
	p, err := g.check(ctx, ruleOf(method), method)
	s.ctx = WithPrincipal(ctx, p)
	return err
}

func (g *Guard) ended(s *stream, method string, err error) {
	if ruleOf(method).audit {
		g.audit(s.ctx, FromContext(s.ctx), method, nil, err)
	}
}

type stream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // how gRPC hands a stream its context
}

func (s *stream) Context() context.Context { return s.ctx }

func (g *Guard) check(ctx context.Context, r rule, method string) (Principal, error) {
	p, err := g.identify(ctx, r)
	if err != nil {
		return p, err
	}
	return p, r.allows(p, method)
}

func (g *Guard) identify(ctx context.Context, r rule) (Principal, error) {
	switch r.need {
	case needUser, needAdmin:
		token, err := bearer(ctx)
		if err != nil {
			return Principal{}, err
		}
		return g.tokens.Authenticate(ctx, token)
	case needAgent:
		return g.agent(ctx)
	case needNothing, needRefuse:
	}
	return Principal{}, nil
}

// bearer reads the authorization metadata (RFC 6750).
func bearer(ctx context.Context) (string, error) {
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	if len(values) != 1 {
		return "", rpcerr.New(rpcerr.Unauthenticated, "the call has %d authorization headers, want one with a token: log in, or set the token that an administrator gave you", len(values))
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "bearer") {
		return "", rpcerr.New(rpcerr.Unauthenticated, "the authorization header is not \"Bearer TOKEN\"")
	}
	return token, nil
}

// agent reads the client certificate, which TLS has verified at the handshake; it may have ended since.
func (g *Guard) agent(ctx context.Context) (Principal, error) {
	pr, _ := peer.FromContext(ctx)
	if pr == nil {
		return Principal{}, rpcerr.New(rpcerr.Unauthenticated, "the call has no peer")
	}
	info, ok := pr.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return Principal{}, rpcerr.New(rpcerr.Unauthenticated, "this method needs an agent's certificate; join first")
	}
	cert := info.State.PeerCertificates[0]
	if g.clock.Now().After(cert.NotAfter) {
		return Principal{}, rpcerr.New(rpcerr.Unauthenticated, "the agent's certificate ended on %s; connect again with a renewed one", cert.NotAfter)
	}
	id, err := tlsutil.ParseAgentIdentity(cert)
	if err != nil {
		return Principal{}, rpcerr.New(rpcerr.Unauthenticated, "%v", err)
	}
	if err := g.removed.check(ctx, id.ID); err != nil {
		return Principal{}, err
	}
	return Principal{Kind: Agent, Name: id.ID, Agent: id, Expires: cert.NotAfter}, nil
}

func (g *Guard) audit(ctx context.Context, p Principal, method string, req any, err error) {
	attrs := []slog.Attr{slog.String("principal", p.String()), slog.String("method", method), slog.String("code", status.Code(err).String())}
	if r, ok := req.(interface{ GetRequestId() string }); ok {
		attrs = append(attrs, slog.String("request_id", r.GetRequestId()))
	}
	if r, ok := req.(interface{ GetRunId() string }); ok {
		attrs = append(attrs, slog.String("run", r.GetRunId()))
	}
	if r, ok := req.(interface{ GetAgent() string }); ok {
		attrs = append(attrs, slog.String("agent", r.GetAgent()))
	}
	if r, ok := req.(interface{ GetAttemptId() string }); ok {
		attrs = append(attrs, slog.String("attempt", r.GetAttemptId()))
	}
	if r, ok := req.(interface {
		GetName() string
		GetOrganisation() bool
		GetProject() string
	}); ok {
		attrs = append(attrs, slog.String("name", r.GetName()), slog.String("project", r.GetProject()), slog.Bool("organisation", r.GetOrganisation()))
	}
	if pr, ok := peer.FromContext(ctx); ok {
		attrs = append(attrs, slog.String("peer", pr.Addr.String()))
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", rpcerr.Message(err)))
	}
	g.log.LogAttrs(ctx, slog.LevelInfo, "audit", attrs...)
}
