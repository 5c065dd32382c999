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

// Agent returns one agent with what it works on. name is its id, its host name, or a unique prefix of either.
func (c *Client) Agent(ctx context.Context, name string) (*apiv1.Agent, error) {
	var out *apiv1.GetAgentResponse
	err := c.retry(ctx, "reading agent "+name, func(ctx context.Context) (err error) {
		out, err = c.agents.GetAgent(ctx, &apiv1.GetAgentRequest{Agent: name})
		return err
	})
	return out.GetAgent(), err
}

// DrainAgent keeps new work from an agent; what still runs there after deadline is cancelled. deadline 0 is none.
func (c *Client) DrainAgent(ctx context.Context, name string, deadline time.Duration, reason string) (*apiv1.Agent, error) {
	r := &apiv1.DrainAgentRequest{RequestId: c.newID(), Agent: name, DeadlineMs: deadline.Milliseconds(), Reason: reason}
	var out *apiv1.DrainAgentResponse
	err := c.retry(ctx, "draining agent "+name, func(ctx context.Context) (err error) {
		out, err = c.agents.DrainAgent(ctx, r)
		return err
	})
	return out.GetAgent(), err
}

// ResumeAgent ends a drain.
func (c *Client) ResumeAgent(ctx context.Context, name string) (*apiv1.Agent, error) {
	r := &apiv1.ResumeAgentRequest{RequestId: c.newID(), Agent: name}
	var out *apiv1.ResumeAgentResponse
	err := c.retry(ctx, "resuming agent "+name, func(ctx context.Context) (err error) {
		out, err = c.agents.ResumeAgent(ctx, r)
		return err
	})
	return out.GetAgent(), err
}

// RemoveAgent forgets an agent, and loses what it has if force is set. It returns the agent's id.
func (c *Client) RemoveAgent(ctx context.Context, name string, force bool) (string, error) {
	r := &apiv1.RemoveAgentRequest{RequestId: c.newID(), Agent: name, Force: force}
	var out *apiv1.RemoveAgentResponse
	err := c.retry(ctx, "removing agent "+name, func(ctx context.Context) (err error) {
		out, err = c.agents.RemoveAgent(ctx, r)
		return err
	})
	return out.GetAgentId(), err
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
