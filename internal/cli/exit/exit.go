// Package exit says with which code the CLI ends. The codes are part of its interface.
package exit

import (
	"context"
	"errors"
	"fmt"

	"github.com/slipway-ci/slipway/sdk/client"
)

// Code is a process's exit code.
type Code int

// The codes of `slipway run`; other commands use the same where they apply.
const (
	// OK: the run succeeded.
	OK Code = 0
	// Failed: the run failed; also a lost job.
	Failed Code = 1
	// Invalid: a wrong pipeline, input or usage; nothing was started.
	Invalid Code = 2
	// System: Slipway could not do it.
	System Code = 3
	// Cancelled: the run was cancelled.
	Cancelled Code = 4
)

// Error ends the CLI with Code. Err may be nil: then everything has been said already.
type Error struct {
	Code Code
	Err  error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

// Unwrap implements errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.Err }

// Silent ends the CLI with c and says nothing.
func Silent(c Code) error { return &Error{Code: c} }

// With gives err a code; nil stays nil.
func With(c Code, err error) error {
	if err == nil {
		return nil
	}
	return &Error{c, err}
}

// Invalidf is an error of the user's input.
func Invalidf(format string, args ...any) error { return &Error{Invalid, fmt.Errorf(format, args...)} }

// Systemf is an error of Slipway or its host.
func Systemf(format string, args ...any) error { return &Error{System, fmt.Errorf(format, args...)} }

// Of is the code with which err ends the CLI: what an *Error says, what the kind of a client's error says, else System.
func Of(err error) Code {
	var e *Error
	switch {
	case err == nil:
		return OK
	case errors.As(err, &e):
		return e.Code
	case errors.Is(err, client.ErrInvalid), errors.Is(err, client.ErrNotFound):
		return Invalid
	case errors.Is(err, context.Canceled):
		return Cancelled
	}
	return System
}
