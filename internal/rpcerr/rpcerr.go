// Package rpcerr makes and reads the errors that cross gRPC: google.rpc.Status with an ErrorInfo of domain "slipway",
// a stable reason, and optional details.
package rpcerr

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Domain is the ErrorInfo domain of every error that Slipway makes.
const Domain = "slipway"

// Reason is the stable code that tools may rely on.
type Reason string

// The reasons. Add; never rename.
const (
	InvalidPipeline  Reason = "INVALID_PIPELINE"
	InvalidRequest   Reason = "INVALID_REQUEST"
	ImageUnavailable Reason = "IMAGE_UNAVAILABLE"
	NotFound         Reason = "NOT_FOUND"
	AlreadyExists    Reason = "ALREADY_EXISTS"
	Unauthenticated  Reason = "UNAUTHENTICATED"
	PermissionDenied Reason = "PERMISSION_DENIED"
	AgentRemoved     Reason = "AGENT_REMOVED"
	Fenced           Reason = "FENCED"
	SessionEnded     Reason = "SESSION_ENDED"
	NotLeader        Reason = "NOT_LEADER"
	Busy             Reason = "BUSY"
	StoreUnavailable Reason = "STORE_UNAVAILABLE"
	LogIncomplete    Reason = "LOG_INCOMPLETE"
	InUse            Reason = "IN_USE"
	RunNotEnded      Reason = "RUN_NOT_ENDED"
	NotFailed        Reason = "NOT_FAILED"
	NotHeld          Reason = "NOT_HELD"
	HoldOver         Reason = "HOLD_OVER"
	AgentAway        Reason = "AGENT_AWAY"
	PolicyRefused    Reason = "POLICY_REFUSED"
	Internal         Reason = "INTERNAL"
)

var reasonCodes = map[Reason]codes.Code{
	InvalidPipeline:  codes.InvalidArgument,
	InvalidRequest:   codes.InvalidArgument,
	ImageUnavailable: codes.FailedPrecondition,
	NotFound:         codes.NotFound,
	AlreadyExists:    codes.AlreadyExists,
	Unauthenticated:  codes.Unauthenticated,
	PermissionDenied: codes.PermissionDenied,
	AgentRemoved:     codes.PermissionDenied,
	Fenced:           codes.Aborted,
	SessionEnded:     codes.Unavailable,
	NotLeader:        codes.Unavailable,
	Busy:             codes.ResourceExhausted,
	StoreUnavailable: codes.Unavailable,
	LogIncomplete:    codes.DataLoss,
	InUse:            codes.FailedPrecondition,
	RunNotEnded:      codes.FailedPrecondition,
	NotFailed:        codes.FailedPrecondition,
	NotHeld:          codes.FailedPrecondition,
	HoldOver:         codes.FailedPrecondition,
	AgentAway:        codes.FailedPrecondition,
	PolicyRefused:    codes.PermissionDenied,
	Internal:         codes.Internal,
}

// New returns an error with the reason's gRPC code.
func New(reason Reason, format string, args ...any) error {
	return WithDetails(reason, fmt.Sprintf(format, args...))
}

// WithDetails returns an error that carries further messages beside its ErrorInfo.
func WithDetails(reason Reason, message string, details ...proto.Message) error {
	code, ok := reasonCodes[reason]
	if !ok {
		code = codes.Unknown
	}
	all := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: string(reason), Domain: Domain}}
	for _, d := range details {
		all = append(all, protoadapt.MessageV1Of(d))
	}
	st, err := status.New(code, message).WithDetails(all...)
	if err != nil {
		return status.Error(code, message)
	}
	return st.Err()
}

// BusyFor returns a BUSY error that says when to try again, as google.rpc.RetryInfo.
func BusyFor(wait time.Duration, format string, args ...any) error {
	return WithDetails(Busy, fmt.Sprintf(format, args...), &errdetails.RetryInfo{RetryDelay: durationpb.New(wait)})
}

// RetryAfter returns when the maker of an error wants to be asked again; 0 if it does not say.
func RetryAfter(err error) time.Duration {
	info, _ := Detail[*errdetails.RetryInfo](err)
	return info.GetRetryDelay().AsDuration()
}

// ReasonOf returns the reason of an error that New made, also after a trip over gRPC or wrapping; "" for any other.
func ReasonOf(err error) Reason {
	info, ok := Detail[*errdetails.ErrorInfo](err)
	if !ok || info.GetDomain() != Domain {
		return ""
	}
	return Reason(info.GetReason())
}

// Detail returns the first detail of type T.
func Detail[T proto.Message](err error) (T, bool) {
	var zero T
	var withStatus interface{ GRPCStatus() *status.Status }
	if err == nil || !errors.As(err, &withStatus) {
		return zero, false
	}
	for _, d := range withStatus.GRPCStatus().Details() {
		if t, ok := d.(T); ok {
			return t, true
		}
	}
	return zero, false
}

// Message returns the status message without gRPC's "rpc error: code = …" prefix.
func Message(err error) string {
	var withStatus interface{ GRPCStatus() *status.Status }
	if errors.As(err, &withStatus) {
		return withStatus.GRPCStatus().Message()
	}
	return err.Error()
}

// Hide logs what a caller can't help and returns INTERNAL in its place, without details of this host. nil, errors with a Slipway reason, and the
// end of the call itself (its context's, or its stream's) stay what they are.
func Hide(log *slog.Logger, what string, err error) error {
	if err == nil || ReasonOf(err) != "" || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if c := status.Code(err); c == codes.Canceled || c == codes.DeadlineExceeded {
		return err
	}
	log.Error("a call failed", "what", what, "error", err)
	return New(Internal, "%s failed in the coordinator; its log says why", what)
}
