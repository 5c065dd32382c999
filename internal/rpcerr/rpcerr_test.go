package rpcerr

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestReasonSurvivesWrapping(t *testing.T) {
	err := fmt.Errorf("submitting: %w", New(Busy, "queue holds %d", 7))
	if got := ReasonOf(err); got != Busy {
		t.Fatalf("ReasonOf = %q, want %q", got, Busy)
	}
	if got := Message(err); got != "queue holds 7" {
		t.Fatalf("Message = %q", got)
	}
}

func TestForeignErrorsHaveNoReason(t *testing.T) {
	for _, err := range []error{nil, fmt.Errorf("plain"), status.Error(codes.Internal, "bare")} {
		if got := ReasonOf(err); got != "" {
			t.Errorf("ReasonOf(%v) = %q, want none", err, got)
		}
	}
}

func TestEveryReasonHasACode(t *testing.T) {
	for _, r := range []Reason{InvalidPipeline, InvalidRequest, ImageUnavailable, NotFound, AlreadyExists, Unauthenticated,
		PermissionDenied, AgentRemoved, Fenced, NotLeader, Busy, StoreUnavailable, LogIncomplete, Internal} {
		if c := status.Code(New(r, "x")); c == codes.Unknown || c == codes.OK {
			t.Errorf("%s has code %v", r, c)
		}
	}
}

func TestHide(t *testing.T) {
	var logged bytes.Buffer
	log := slog.New(slog.NewTextHandler(&logged, nil))
	for _, err := range []error{nil, New(Busy, "later"), context.Canceled, fmt.Errorf("reading: %w", context.DeadlineExceeded),
		status.Error(codes.Canceled, "the caller hung up")} {
		if got := Hide(log, "reading", err); !errors.Is(got, err) {
			t.Errorf("%v became %v", err, got)
		}
	}
	if logged.Len() > 0 {
		t.Errorf("logged %s", logged.String())
	}
	err := Hide(log, "reading", errors.New("/var/lib/secret: permission denied"))
	if ReasonOf(err) != Internal || strings.Contains(err.Error(), "secret") || !strings.Contains(logged.String(), "/var/lib/secret") {
		t.Errorf("%v, logged %s", err, logged.String())
	}
}

func TestBusyForSaysWhen(t *testing.T) {
	err := BusyFor(1500*time.Millisecond, "come back in %s", "a moment")
	if ReasonOf(err) != Busy || RetryAfter(err) != 1500*time.Millisecond || Message(err) != "come back in a moment" {
		t.Fatalf("%v: %s after %v", err, ReasonOf(err), RetryAfter(err))
	}
	if d := RetryAfter(New(Busy, "later")); d != 0 {
		t.Fatalf("an error that does not say: %v", d)
	}
}
