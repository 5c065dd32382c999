package api

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/slipway-ci/slipway/coordinator/logs"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// SealedLogs has the logs of sealed runs. Implemented by history.History.
type SealedLogs interface {
	// Sealed returns a sealed run; nil if there is none of this id.
	Sealed(ctx context.Context, runID string) (*statev1.Bundle, error)
	OpenLog(ctx context.Context, b *statev1.Bundle, l *statev1.SealedLog) (io.ReadCloser, error)
}

// findSealed looks for the bundle of a run that has ended.
func (t *tail) findSealed(ctx context.Context) (err error) {
	t.bundle = nil
	if t.d.Sealed != nil {
		t.bundle, err = t.d.Sealed.Sealed(ctx, t.run)
	}
	return err
}

// sendSealed sends the logs that only the run's bundle has. raw are those that the log store still has: it may have more of them.
func (t *tail) sendSealed(raw []logs.Info) (missing string, err error) {
	there := map[string]bool{}
	for _, i := range raw {
		there[i.Attempt] = true
	}
	for _, l := range t.bundle.GetLogs().GetLogs() {
		key := tailKey{attempt: l.GetAttemptId(), step: l.GetStep()}
		if there[l.GetAttemptId()] || !t.wantsLog(l.GetJobId(), l.GetAttemptId(), l.GetStep()) {
			continue
		}
		t.skip(key, l.GetLength())
		if t.sent[key] < l.GetLength() {
			if err := t.sendSealedLog(l, key); err != nil {
				return "", err
			}
		}
		if n := l.GetMissing(); n > 0 {
			missing = fmt.Sprintf("the log of job %s, step %d has %d of %d bytes", l.GetJobId(), l.GetStep(), l.GetLength(), l.GetLength()+n)
		}
	}
	return missing, nil
}

func (t *tail) sendSealedLog(l *statev1.SealedLog, key tailKey) error {
	r, err := t.d.Sealed.OpenLog(t.stream.Context(), t.bundle, l)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	// What was sent from the log store before it was removed there.
	if _, err := io.CopyN(io.Discard, r, t.sent[key]); err != nil {
		return err
	}
	for {
		n, err := io.ReadFull(r, t.buf)
		if n > 0 {
			msg := &apiv1.StreamLogsResponse{JobId: l.GetJobId(), AttemptId: l.GetAttemptId(), Step: l.GetStep(), Offset: t.sent[key], Data: t.buf[:n]}
			if err := t.stream.Send(msg); err != nil {
				return err
			}
			t.sent[key] += int64(n)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
