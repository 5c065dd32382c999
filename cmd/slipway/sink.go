package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/slipway-ci/slipway/internal/cli/exit"
)

// errOutput: what a command had to say could not be written.
var errOutput = errors.New("writing the output")

// sink is a command's output. It remembers the first error of writing, so that no command can end well whose answer nobody got, and writes nothing
// after it. Safe for concurrent use.
type sink struct {
	w   io.Writer
	mu  sync.Mutex
	err error
}

// Write implements io.Writer.
func (s *sink) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.w.Write(b)
	if err != nil {
		var path *fs.PathError
		if errors.As(err, &path) {
			err = path.Err // it names /dev/stdout, whatever that is
		}
		s.err = fmt.Errorf("%w: %w", errOutput, err)
	}
	return n, s.err
}

// judge is what a command's error comes to: one of writing is told, once, and whatever failed before it keeps its code.
func (s *sink) judge(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil || errors.Is(err, errOutput) {
		return err
	}
	code := exit.System
	if err != nil {
		code = exit.Of(err)
	}
	var said *exit.Error
	if errors.As(err, &said) && said.Err == nil {
		err = nil
	}
	return exit.With(code, errors.Join(err, s.err))
}
