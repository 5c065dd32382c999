package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-ci/slipway/agent/commands"
	"github.com/slipway-ci/slipway/agent/state"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	"github.com/slipway-ci/slipway/pipeline/expr"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

const (
	// ofSecrets is whose masks those of the secrets are, among those of the steps: before all of them.
	ofSecrets = ^uint32(0)
	// maxSecretBytes bounds the secrets of a job together. What is searched for in its log are their many forms.
	maxSecretBytes = 64 << 10
	// secretsPause is the longest time between two tries to get them.
	secretsPause = 5 * time.Second
)

// getSecrets asks for the secrets of the attempt, before a byte of it is read or sent: they are in this process's memory only, so that each
// process asks for itself, and gets the same. Without what it had before an attempt can't go on: nobody would know what to hide. A new one
// whose secrets can't be had fails in "Set up job", with the reason in noSecrets.
func (t *Attempt) getSecrets(ctx context.Context) error {
	if !t.a.GetSecrets() {
		return nil
	}
	r, err := t.awaitSecrets(ctx)
	if ctx.Err() != nil {
		return stopReason(ctx)
	}
	if err == nil {
		err = t.takeSecrets(r)
	}
	if err != nil && t.p.Secrets != nil {
		return fmt.Errorf("the secrets that the attempt had can't be had again: %w", err)
	}
	t.noSecrets = err
	return nil
}

// awaitSecrets asks until there is an answer. A new attempt may be cancelled meanwhile.
func (t *Attempt) awaitSecrets(ctx context.Context) (*fleetv1.GetSecretsResponse, error) {
	if err := t.dirs.ReadPrivate("base.json", &t.values.base); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		r   *fleetv1.GetSecretsResponse
		err error
	}
	got := make(chan result, 1)
	go func() {
		r, err := t.askSecrets(ctx)
		got <- result{r, err}
	}()
	for {
		soft, _ := t.ending()
		if soft && t.p.Secrets == nil {
			cancel()
		}
		select {
		case x := <-got:
			return x.r, x.err
		case <-t.notices.wake:
			t.takeNotices()
		}
	}
}

func (t *Attempt) askSecrets(ctx context.Context) (*fleetv1.GetSecretsResponse, error) {
	req := &fleetv1.GetSecretsRequest{AttemptId: t.id, Token: t.values.base.Token}
	if t.p.Secrets != nil {
		req.Revision = t.p.Secrets.Revision
	}
	for n := 0; ; n++ {
		client, err := t.d.Remote.Client(ctx)
		if err != nil {
			return nil, err
		}
		r, err := client.GetSecrets(ctx, req)
		switch {
		case err == nil || ctx.Err() != nil:
			return r, err
		case !slices.Contains([]codes.Code{codes.Unavailable, codes.ResourceExhausted, codes.DeadlineExceeded, codes.Canceled}, status.Code(err)):
			return nil, errors.New(rpcerr.Message(err))
		}
		if err := t.pause(ctx, min(secretsPause, 100*time.Millisecond<<min(n, 6))); err != nil {
			return nil, err
		}
	}
}

// takeSecrets makes an answer the attempt's, and hides it.
func (t *Attempt) takeSecrets(r *fleetv1.GetSecretsResponse) error {
	var names []string
	masks := slices.Clone(r.GetMasks())
	for _, s := range r.GetSecrets() {
		names = append(names, s.GetName())
		masks = append(masks, s.GetValue())
	}
	size, v := 0, &stepValues{}
	for _, m := range masks {
		size += len(m)
		for _, part := range commands.Masks(m) {
			v.Masks = append(v.Masks, []byte(part))
		}
	}
	switch {
	case size > maxSecretBytes:
		return &invalidError{fmt.Errorf("the job refers to %d bytes of secrets, more than %d KiB together: name fewer of them", size, maxSecretBytes>>10)}
	case t.p.Secrets != nil && !slices.Equal(names, t.p.Secrets.Names):
		return fmt.Errorf("there are %q now, and were %q", names, t.p.Secrets.Names)
	}
	t.secrets = r.GetSecrets()
	t.values.take(ofSecrets, v)
	t.p.Secrets = &state.Secrets{Revision: r.GetRevision(), Names: names}
	return nil
}

// secretsContext is `secrets`; what nobody set is not in it, and so is empty.
func (t *Attempt) secretsContext() expr.Value {
	o := expr.NewObject()
	for _, s := range t.secrets {
		o.Set(s.GetName(), expr.String(s.GetValue()))
	}
	return o.Value()
}
