package client

import (
	"context"
	"time"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// Agents lists every agent that the coordinator knows.
func (c *Client) Agents(ctx context.Context) ([]*apiv1.Agent, error) {
	var out *apiv1.ListAgentsResponse
	err := c.retry(ctx, "listing agents", func(ctx context.Context) (err error) {
		out, err = c.agents.ListAgents(ctx, &apiv1.ListAgentsRequest{})
		return err
	})
	return out.GetAgents(), err
}

// Token is a fresh secret and when it stops working.
type Token struct {
	Secret  string
	Expires time.Time
}

// JoinToken describes what CreateJoinToken grants; zero values are the coordinator's defaults.
type JoinToken struct {
	Pool   string
	Labels []string
	TTL    time.Duration
	Uses   uint32
}

// CreateJoinToken makes a token with which agents join a pool.
func (c *Client) CreateJoinToken(ctx context.Context, j JoinToken) (Token, error) {
	r := &apiv1.CreateJoinTokenRequest{RequestId: c.newID(), Pool: j.Pool, Labels: j.Labels, TtlMs: j.TTL.Milliseconds(), Uses: j.Uses}
	var out *apiv1.CreateJoinTokenResponse
	err := c.retry(ctx, "creating a join token", func(ctx context.Context) (err error) {
		out, err = c.agents.CreateJoinToken(ctx, r)
		return err
	})
	return Token{out.GetToken(), time.UnixMilli(out.GetExpiresMs())}, err
}

// CreateToken makes a token for a user; ttl 0 is the coordinator's default.
func (c *Client) CreateToken(ctx context.Context, user string, groups []string, ttl time.Duration) (Token, error) {
	r := &apiv1.CreateTokenRequest{RequestId: c.newID(), User: user, Groups: groups, TtlMs: ttl.Milliseconds()}
	var out *apiv1.CreateTokenResponse
	err := c.retry(ctx, "creating a token", func(ctx context.Context) (err error) {
		out, err = c.tokens.CreateToken(ctx, r)
		return err
	})
	return Token{out.GetToken(), time.UnixMilli(out.GetExpiresMs())}, err
}
