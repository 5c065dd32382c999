package client

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// Kinds of errors, to be told apart with errors.Is.
var (
	// ErrInvalid: the request can never work: a pipeline with errors, an image that does not resolve, a bad argument.
	ErrInvalid = errors.New("invalid request")
	// ErrNotFound: what the call names does not exist.
	ErrNotFound = errors.New("not found")
	// ErrUnauthenticated: no token, or one that the coordinator does not know or that expired.
	ErrUnauthenticated = errors.New("not authenticated")
	// ErrPermission: the token's user may not do this.
	ErrPermission = errors.New("permission denied")
	// ErrUnreachable: no coordinator answered within the patience.
	ErrUnreachable = errors.New("coordinator unreachable")
	// ErrUntrusted: what answers there is not the coordinator that is meant, or can't prove it.
	ErrUntrusted = errors.New("coordinator not trusted")
	// ErrSystem: the coordinator could not do it.
	ErrSystem = errors.New("system error")
)

// Error is a failed call. It unwraps to its kind, to the context's error where that ended the call, and to the gRPC
// status.
type Error struct {
	// Op is what was tried, for a person: "submitting the run".
	Op string
	// Kind is one of the Err… values of this package.
	Kind error
	// Reason is the stable code of a Slipway error, e.g. INVALID_PIPELINE; "" for others.
	Reason string
	// Message explains, without gRPC's prefix.
	Message string
	// Diagnostics are the compiler's findings when Reason is INVALID_PIPELINE.
	Diagnostics []*apiv1.Diagnostic

	cause error
}

// Error implements error.
func (e *Error) Error() string { return e.Op + ": " + e.Message }

// Unwrap implements errors.Is and errors.As.
func (e *Error) Unwrap() []error { return []error{e.Kind, e.cause} }

// wrap makes an *Error of what gRPC returned; nil stays nil.
func (c *Client) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	if ctxErr := contextError(err); ctxErr != nil {
		return &Error{Op: op, Kind: ErrSystem, Message: c.gaveUp(ctxErr), cause: ctxErr}
	}
	reason := rpcerr.ReasonOf(err)
	e := &Error{Op: op, Kind: kindOf(reason, status.Code(err)), Reason: string(reason), Message: rpcerr.Message(err), cause: err}
	if d, ok := rpcerr.Detail[*apiv1.Diagnostics](err); ok {
		e.Diagnostics = d.GetDiagnostics()
	}
	if reason == "" {
		e.Message, e.Kind = c.transport(e.Kind, status.Code(err), e.Message)
	}
	return e
}

// gaveUp says in what way the caller ended a call.
func (c *Client) gaveUp(ctxErr error) string {
	if errors.Is(ctxErr, context.Canceled) {
		return "it was interrupted"
	}
	return fmt.Sprintf("the coordinator at %s did not answer in time", c.address)
}

// transport says what went wrong below Slipway's own errors: on the way to the coordinator, or because something else listens there.
func (c *Client) transport(kind error, code codes.Code, text string) (message string, as error) {
	switch code {
	case codes.Unavailable:
		if why := c.handshake.distrust(); why != "" {
			return fmt.Sprintf("what listens at %s is not trusted: %s", c.address, why), ErrUntrusted
		}
		return fmt.Sprintf("the coordinator at %s does not answer: %s", c.address, inner(text)), kind
	case codes.Unimplemented:
		return fmt.Sprintf("what listens at %s does not know this call: it is a coordinator of another version, or none (%s)", c.address, inner(text)), kind
	case codes.ResourceExhausted:
		return "it is too large for one message: " + inner(text), kind
	default:
		return inner(text), kind
	}
}

// inner is what gRPC has to say of a broken connection without its own words around it.
func inner(text string) string {
	for {
		_, rest, found := strings.Cut(text, `desc = "`)
		if !found {
			break
		}
		if text = rest; strings.HasSuffix(rest, `"`) {
			if unquoted, err := strconv.Unquote(`"` + rest); err == nil {
				text = unquoted
			}
		}
	}
	for _, prefix := range []string{"transport: ", "Error while dialing: ", "authentication handshake failed: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return text
}

func contextError(err error) error {
	switch {
	case errors.Is(err, context.Canceled), status.Code(err) == codes.Canceled:
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded), status.Code(err) == codes.DeadlineExceeded:
		return context.DeadlineExceeded
	}
	return nil
}

func kindOf(reason rpcerr.Reason, code codes.Code) error {
	if reason == rpcerr.ImageUnavailable || reason == rpcerr.InvalidPipeline || reason == rpcerr.InvalidRequest || reason == rpcerr.AlreadyExists {
		return ErrInvalid
	}
	switch code {
	case codes.InvalidArgument, codes.FailedPrecondition, codes.AlreadyExists, codes.OutOfRange:
		return ErrInvalid
	case codes.NotFound:
		return ErrNotFound
	case codes.Unauthenticated:
		return ErrUnauthenticated
	case codes.PermissionDenied:
		return ErrPermission
	case codes.Unavailable:
		if reason == "" {
			return ErrUnreachable
		}
		return ErrSystem
	default:
		return ErrSystem
	}
}
