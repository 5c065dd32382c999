package client

import (
	"context"
	"time"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// SignIn returns a link with which a browser signs in as the caller, once and until expires, and goes on to a run's page; runID "" is the list of runs.
func (c *Client) SignIn(ctx context.Context, runID string) (link string, expires time.Time, err error) {
	r := &apiv1.CreateSignInRequest{RequestId: c.newID(), RunId: runID}
	var out *apiv1.CreateSignInResponse
	err = c.retry(ctx, "signing in", func(ctx context.Context) (err error) {
		out, err = c.web.CreateSignIn(ctx, r)
		return err
	})
	return out.GetUrl(), time.UnixMilli(out.GetExpiresMs()), err
}

// RunPage is Run with the address of the run's page; "" if the coordinator has no pages.
func (c *Client) RunPage(ctx context.Context, runID string) (run *apiv1.Run, url string, err error) {
	var out *apiv1.GetRunResponse
	err = c.retry(ctx, "reading run "+runID, func(ctx context.Context) (err error) {
		out, err = c.runs.GetRun(ctx, &apiv1.GetRunRequest{RunId: runID})
		return err
	})
	return out.GetRun(), out.GetUrl(), err
}
